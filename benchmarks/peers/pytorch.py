"""PyTorch: `nn.RNN` with one backward pass, windows run again, and walks along per-step graphs.

`full` is as it is mostly written, `full-fused` has PyTorch's own fused loss, which saves memory. In
the others the loss goes by pieces of tokens, which is faster; `compiled` ones run `torch.compile`d.
"""

import functools

import torch
import torch.nn.functional as F  # noqa: N812, the name its users give it
from torch import nn

from benchmarks import worker
from benchmarks.problem import PARAMETERS

torch.set_num_threads(worker.THREADS)
PIECE = 200  # tokens of which the logits are computed at once; 32, and all, are slower


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

    def readout_backward(self, outputs, targets, loss_fn):
        """Cross-entropy by pieces of tokens, each with its own backward: less memory and time.

        [T, B, N], [T, B] -> the mean loss and its gradient by the outputs, [T, B, N].
        """
        read = [piece.detach().requires_grad_() for piece in outputs.flatten(0, 1).split(PIECE)]
        total = 0.0
        for piece, labels in zip(read, targets.flatten().split(PIECE), strict=True):
            loss = loss_fn(self, piece, labels) / targets.numel()
            loss.backward()
            total += loss.detach()
        return total, torch.cat([piece.grad for piece in read]).unflatten(0, targets.shape)


def summed_loss(model, outputs, targets):
    """Cross-entropy on whole logits: [n, N], [n] -> []."""
    return F.cross_entropy(model.readout(outputs), targets, reduction="sum")


compiled_loss = torch.compile(summed_loss, dynamic=False)


def windows(model, words, entering, width):
    """The states of windows side by side, [width, windows, B, N], from their first carries."""
    num_windows, batch, _ = entering.shape
    states, found = entering.flatten(0, 1), []
    for i in range(width):
        states = model.cell(words[i : i + num_windows].flatten(0, 1), states)
        found.append(states)
    return torch.stack(found).unflatten(1, (num_windows, batch))


def full(problem, horizon):
    """One forward, one loss on whole logits, one backward: as it is mostly written."""

    def loss_and_backward(model, tokens, targets):
        outputs, _ = model.rnn(model.embedding(tokens))
        loss = F.cross_entropy(model.readout(outputs).flatten(0, 1), targets.flatten())
        loss.backward()
        return loss

    return _step(loss_and_backward, problem)


def full_fused(problem, horizon):
    """The same with the loss that computes logits in chunks, and their gradients at once."""
    options = nn.LinearCrossEntropyOptions()

    def loss_and_backward(model, tokens, targets):
        outputs, _ = model.rnn(model.embedding(tokens))
        readout = model.readout
        loss = F.linear_cross_entropy(
            outputs.flatten(0, 1),
            readout.weight,
            targets.flatten(),
            linear_bias=readout.bias,
            options=options,
        )
        loss.backward()
        return loss

    return _step(loss_and_backward, problem)


def full_pieces(problem, horizon, loss_fn=summed_loss):
    """One forward and one backward of the recurrence; the loss by pieces."""

    def loss_and_backward(model, tokens, targets):
        outputs, _ = model.rnn(model.embedding(tokens))
        loss, errors = model.readout_backward(outputs, targets, loss_fn)
        outputs.backward(errors)
        return loss

    return _step(loss_and_backward, problem)


def true_windows(problem, horizon, loss_fn=summed_loss, windows_fn=windows):
    """Every window of `horizon` steps run again from its detached first state, as one batch.

    A window's last loss alone counts, but in the first window all do: each of them reaches the
    sequence's start in at most `horizon` steps.
    """
    num_steps, _ = problem["tokens"].shape
    width = min(horizon, num_steps)
    num_windows = num_steps - width + 1

    def loss_and_backward(model, tokens, targets):
        words = model.project(tokens)
        with torch.no_grad():
            entering = [torch.zeros_like(words[0])]
            for word in words[: num_windows - 1]:
                entering.append(model.cell(word, entering[-1]))
        states = windows_fn(model, words, torch.stack(entering), width)
        outputs = torch.cat([states[:, 0], states[-1, 1:]])
        loss, errors = model.readout_backward(outputs, targets, loss_fn)
        outputs.backward(errors)
        return loss

    return _step(loss_and_backward, problem)


def true_graphs(problem, horizon, loss_fn=summed_loss):
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
        loss, errors = model.readout_backward(torch.stack(outputs), targets, loss_fn)
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


COMPILED = {"loss_fn": compiled_loss}
COMPILED_WINDOWS = COMPILED | {"windows_fn": torch.compile(windows, dynamic=False)}
VARIANTS = {
    "full": full,
    "full-fused": full_fused,
    "full-pieces": full_pieces,
    "full-compiled": functools.partial(full_pieces, **COMPILED),
    "true-windows": true_windows,
    "true-windows-compiled": functools.partial(true_windows, **COMPILED_WINDOWS),
    "true-graphs": true_graphs,
    "true-graphs-compiled": functools.partial(true_graphs, **COMPILED),
}

if __name__ == "__main__":
    worker.serve(VARIANTS, {"torch": torch.__version__})
