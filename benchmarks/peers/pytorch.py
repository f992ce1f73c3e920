"""PyTorch: `nn.RNN` with one backward pass, windows run again, and walks along per-step graphs."""

import torch
import torch.nn.functional as F  # noqa: N812, the name its users give it
from torch import nn

from benchmarks import worker
from benchmarks.problem import PARAMETERS

torch.set_num_threads(worker.THREADS)


class Model(nn.Module):
    """The language model; `nn.RNN` has two biases, and the second stays zero."""

    def __init__(self, problem):
        super().__init__()
        vocab, embed = problem["embedding"].shape
        state = problem["bias"].size
        self.embedding = nn.Embedding(vocab, embed)
        self.rnn = nn.RNN(embed, state)
        self.readout = nn.Linear(state, vocab)
        self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        values = _kernels_transposed([torch.from_numpy(problem[name]) for name in PARAMETERS])
        with torch.no_grad():
            for parameter, value in zip(self.learned(), values, strict=True):
                parameter.copy_(value)

    def learned(self):
        """The parameters in the order of `problem.PARAMETERS`; kernels are [outputs, inputs]."""
        rnn = self.rnn
        return [
            self.embedding.weight,
            rnn.weight_ih_l0,
            rnn.weight_hh_l0,
            rnn.bias_ih_l0,
            self.readout.weight,
            self.readout.bias,
        ]

    def project(self, tokens):
        """The words' part of every step: [T, B] -> [T, B, N]."""
        return F.linear(self.embedding(tokens), self.rnn.weight_ih_l0, self.rnn.bias_ih_l0)

    def cell(self, projected, state):
        """One step, `nn.RNN`'s, where the words' part is there: [..., N], [..., N] -> [..., N]."""
        return torch.tanh(torch.addmm(projected, state, self.rnn.weight_hh_l0.T))

    def readout_backward(self, outputs, targets):
        """Mean cross-entropy by steps, each with its own backward: less memory and time.

        [T, B, N], [T, B] -> the loss and its gradient by the outputs, [T, B, N].
        """
        read = [output.detach().requires_grad_() for output in outputs]
        total = 0.0
        for output, target in zip(read, targets, strict=True):
            loss = F.cross_entropy(self.readout(output), target) / len(targets)
            loss.backward()
            total += loss.detach()
        return total, torch.stack([output.grad for output in read])


def full(problem, horizon):
    """One forward, one loss on whole logits, one backward: as it is mostly written."""

    def loss_and_backward(model, tokens, targets):
        outputs, _ = model.rnn(model.embedding(tokens))
        loss = F.cross_entropy(model.readout(outputs).flatten(0, 1), targets.flatten())
        loss.backward()
        return loss

    return _step(loss_and_backward, problem)


def full_steps(problem, horizon):
    """One forward and one backward of the recurrence; the loss by steps."""

    def loss_and_backward(model, tokens, targets):
        outputs, _ = model.rnn(model.embedding(tokens))
        loss, errors = model.readout_backward(outputs, targets)
        outputs.backward(errors)
        return loss

    return _step(loss_and_backward, problem)


def true_windows(problem, horizon):
    """Every window of `horizon` steps run again from its detached first state, as one batch.

    A window's last loss alone counts, but in the first window all do: each of them reaches the
    sequence's start in at most `horizon` steps.
    """
    num_steps, batch = problem["tokens"].shape
    width = min(horizon, num_steps)
    num_windows = num_steps - width + 1

    def loss_and_backward(model, tokens, targets):
        words = model.project(tokens)
        with torch.no_grad():
            entering = [torch.zeros_like(words[0])]
            for word in words[: num_windows - 1]:
                entering.append(model.cell(word, entering[-1]))
        states, outputs = torch.cat(entering), []
        for i in range(width):
            states = model.cell(words[i : i + num_windows].flatten(0, 1), states)
            outputs.append(states[:batch])
        outputs = torch.cat([*outputs, states[batch:]]).unflatten(0, (num_steps, batch))
        loss, errors = model.readout_backward(outputs, targets)
        outputs.backward(errors)
        return loss

    return _step(loss_and_backward, problem)


def true_graphs(problem, horizon):
    """A graph for each step, with its state detached; each error walks back along `horizon` graphs.

    The gradient of a detached state is taken away once it was read. Left there, it would be counted
    again by every later walk that comes past.
    """

    def loss_and_backward(model, tokens, targets):
        words = model.project(tokens)
        inputs = [word.detach().requires_grad_() for word in words]
        entering, outputs = [], []
        state = torch.zeros_like(inputs[0])
        for word in inputs:
            entering.append(state.detach().requires_grad_())
            state = model.cell(word, entering[-1])
            outputs.append(state)
        loss, errors = model.readout_backward(outputs, targets)
        for last, error in enumerate(errors):
            for s in range(last, max(last - horizon, -1), -1):
                outputs[s].backward(error, retain_graph=True)
                error, entering[s].grad = entering[s].grad, None
        words.backward(torch.stack([word.grad for word in inputs]))
        return loss

    return _step(loss_and_backward, problem)


def _step(loss_and_backward, problem):
    model = Model(problem)
    tokens, targets = (torch.from_numpy(problem[name]).long() for name in ("tokens", "targets"))

    def step():
        model.zero_grad()
        loss = loss_and_backward(model, tokens, targets)
        grads = _kernels_transposed([parameter.grad for parameter in model.learned()])
        return loss.detach(), dict(zip(PARAMETERS, grads, strict=True))

    return step


def _kernels_transposed(parameters):
    """PyTorch keeps a kernel as [outputs, inputs]: from its layout to ours, or back."""
    embedding, *others = parameters
    return [embedding, *(other.T if other.ndim == 2 else other for other in others)]


VARIANTS = {
    "full": full,
    "full-steps": full_steps,
    "true-windows": true_windows,
    "true-graphs": true_graphs,
}

if __name__ == "__main__":
    worker.serve(VARIANTS, {"torch": torch.__version__})
