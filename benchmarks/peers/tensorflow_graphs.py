"""TensorFlow as in the reference article: a copy of every parameter for each step, one graph.

True truncation is one `tf.gradients` call for each loss, by the copies of its last `horizon` steps;
TensorFlow then adds all of them up. Words are looked up in the embedding's copies: the article's
product with one-hot rows takes as many multiplications for each word as the embedding has entries.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf

from benchmarks import worker
from benchmarks.problem import PARAMETERS

tf.config.threading.set_intra_op_parallelism_threads(worker.THREADS)
tf.config.threading.set_inter_op_parallelism_threads(worker.THREADS)


def full(problem, horizon):
    """One `tf.gradients` call for the mean loss."""

    def loss_and_grads(params, tokens, targets):
        losses, _ = _unrolled(params, tokens, targets)
        loss = tf.reduce_mean(losses)
        grads = tf.gradients(loss, [params[name] for name in PARAMETERS])
        return loss, dict(zip(PARAMETERS, map(tf.convert_to_tensor, grads), strict=True))

    return _step(loss_and_grads, problem)


def true(problem, horizon):
    """One `tf.gradients` call for each loss, and one for the readout by all of them."""
    *recurrent, readout_kernel, readout_bias = PARAMETERS
    num_words = problem["tokens"].size

    def loss_and_grads(params, tokens, targets):
        losses, copies = _unrolled(params, tokens, targets)
        found = {name: [] for name in recurrent}
        for i, loss in enumerate(losses):
            reached = copies[max(i + 1 - horizon, 0) : i + 1]
            grads = tf.gradients(loss, [copy[name] for name in recurrent for copy in reached])
            for position, name in enumerate(recurrent):
                found[name] += grads[position * len(reached) : (position + 1) * len(reached)]
        grads = {name: _sum(found[name]) / num_words for name in recurrent}
        loss = tf.reduce_mean(losses)
        names = [readout_kernel, readout_bias]
        readout = tf.gradients(loss, [params[name] for name in names])
        return loss, grads | dict(zip(names, readout, strict=True))

    return _step(loss_and_grads, problem)


def _unrolled(params, tokens, targets):
    """Each step's losses, [B], and each step's copies of the recurrent parameters by name."""
    num_steps, batch = tokens.shape
    state = tf.zeros([batch, params["bias"].shape[0]])
    losses, copies = [], []
    for s in range(num_steps):
        copy = {name: tf.identity(params[name]) for name in PARAMETERS[:4]}
        word = tf.nn.embedding_lookup(copy["embedding"], tokens[s])
        from_word = tf.matmul(word, copy["input_kernel"])
        state = tf.tanh(from_word + tf.matmul(state, copy["recurrent_kernel"]) + copy["bias"])
        logits = tf.matmul(state, params["readout_kernel"]) + params["readout_bias"]
        losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(targets[s], logits))
        copies.append(copy)
    return losses, copies


def _sum(grads):
    """The sum as one array; the rows that lookups touched are added in one go."""
    if not isinstance(grads[0], tf.IndexedSlices):
        return tf.add_n(grads)
    values = tf.concat([grad.values for grad in grads], 0)
    rows = tf.concat([grad.indices for grad in grads], 0)
    return tf.math.unsorted_segment_sum(values, rows, grads[0].dense_shape[0])


def _step(loss_and_grads, problem):
    arrays = {name: tf.constant(values) for name, values in problem.items()}
    params = {name: tf.Variable(arrays[name]) for name in PARAMETERS}

    @tf.function
    def compiled(tokens, targets):
        values = {name: tf.convert_to_tensor(variable) for name, variable in params.items()}
        return loss_and_grads(values, tokens, targets)

    return lambda: compiled(arrays["tokens"], arrays["targets"])


VARIANTS = {"full": full, "true": true}

if __name__ == "__main__":
    worker.serve(VARIANTS, {"tensorflow": tf.__version__})
