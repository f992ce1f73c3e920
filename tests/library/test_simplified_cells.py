"""Cells of libraries are recognised, whatever the version: their sweeps do what is needed alone."""

import jax
import jax.numpy as jnp
import pytest
from frameworks import needed

from tbptt_jax._pullback.nodes import Product
from tbptt_jax._pullback.of_steps import inexact, pullback
from tbptt_jax._pullback.simplified import simplified

library_cells = needed("benchmarks.library_cells")
B, M, N = 2, 3, 5
# What a sweep multiplies by, and the number of factors [B, N] of each step.
CELLS = {
    ("article",): ([(N, N)], 1),
    ("linen", "SimpleCell"): ([(N, N)], 1),
    ("linen", "GRUCell"): ([(3 * N, N)], 4),
    ("linen", "LSTMCell"): ([(4 * N, N)], 6),
    ("linen", "OptimizedLSTMCell"): ([(4 * N, N)], 6),
    ("haiku", "GRU"): ([(N, N), (2 * N, N)], 5),
    ("haiku", "LSTM"): ([(4 * N, N)], 6),
    ("equinox", "GRUCell"): ([(3 * N, N)], 4),
    ("equinox", "LSTMCell"): ([(4 * N, N)], 6),
}


def sweep(cell):
    """The kernels that a simplified pullback multiplies by, and the other arrays that it keeps."""
    x = jnp.zeros((B, M))
    step = lambda carry: cell.step(cell.params, carry, x)[0]
    errors = jax.eval_shape(lambda carry: inexact(step(carry)), cell.init)
    found = simplified(pullback(step, cell.init), errors)
    assert found is not None
    steps, _, _ = found.func.args
    (known,) = found.args
    kernels = [known[places[0]].shape for node, _, places in steps if isinstance(node, Product)]
    return kernels, len(known) - len(kernels)


@pytest.mark.standard
@pytest.mark.parametrize("library, names", [(name[0], name[1:]) for name in CELLS])
def test_a_cell_of_a_library_is_recognised(library, names):
    cell = getattr(library_cells, library)(*names, B, M, N)
    assert sweep(cell) == CELLS[library, *names]


@pytest.mark.standard
def test_two_layers_share_the_product_of_the_upper_layers_error():
    cell = library_cells.linen("OptimizedLSTMCell", B, M, N, layers=2)
    assert sweep(cell) == ([(4 * N, 2 * N), (4 * N, N)], 12)
