"""Programs with `truncated_scan`: memory, depth, symbolic sizes; what it imports and keeps."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import truncated_scan

STRIDES = pytest.mark.parametrize("stride", [1, 2])


@STRIDES
@pytest.mark.parametrize("num_steps", [64, 256])
def test_no_copy_of_the_parameters_per_step(num_steps, stride):
    """The backward's memory stays below one parameter set per ten steps."""
    size = 128
    weight = jax.ShapeDtypeStruct((size, size), jnp.float32)
    xs = jax.ShapeDtypeStruct((num_steps, 1, size), jnp.float32)

    def total(weight, xs):
        step = lambda c, x: (jnp.tanh(c @ weight + x), c)
        init = jnp.zeros((1, size), jnp.float32)
        return jnp.sum(truncated_scan(step, init, xs, horizon=8, stride=stride)[1])

    compiled = jax.jit(jax.grad(total)).lower(weight, xs).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    assert temporary < num_steps / 10 * size * size * 4


@STRIDES
def test_depth_of_the_backward_is_the_horizon(stride):
    """Of the loops of the gradient, the backward's runs horizon - 2 times, however long T is: the
    first of the horizon's steps is an error's own, the last is the parameters'."""

    def total(xs):
        step = lambda c, x: (jnp.sin(c[::-1]) + x, c)
        return jnp.sum(truncated_scan(step, jnp.zeros(2), xs, horizon=4, stride=stride)[1])

    for num_steps in (9, 50):
        jaxpr = jax.make_jaxpr(jax.grad(total))(jnp.ones(num_steps))
        lengths = [eqn.params["length"] for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
        assert lengths == [num_steps, 2]


def test_library_imports_jax_alone():
    """tbptt_jax needs nothing but jax (and numpy through it)."""
    code = "import sys, tbptt_jax; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"flax", "optax", "absl", "chex", "experiments"} & set(found.stdout.split())


KEEPING_NO_TRACER = """
import jax, jax.numpy as jnp
from tbptt_jax import init_stream, stream_scan, truncated_scan

def loss(w, xs):
    f = lambda c, x: (jnp.sin(w) * c + x, c)
    _, ys = truncated_scan(f, 0.0, xs, horizon=2)
    _, of_stream = stream_scan(f, init_stream(jnp.zeros(()), xs, horizon=3), xs)
    return jnp.sum(ys + of_stream)

with jax.check_tracer_leaks():
    assert jnp.isfinite(jax.jit(loss)(1.0, jnp.ones(5)))
    assert jnp.isfinite(jax.jit(jax.grad(loss))(1.0, jnp.ones(5)))
print("no leak")
"""


def test_nothing_that_a_program_keeps_holds_a_tracer():
    """In a process of its own: the check looks at every object there is."""
    command = [sys.executable, "-c", KEEPING_NO_TRACER]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "no leak\n", done.stderr


@pytest.mark.parametrize("sizes", ["steps, 3", "5, batch"])
def test_exports_with_symbolic_sizes(sizes):
    """Of a sequence of any length, shorter than the horizon too, or of any batch."""
    weight = jnp.float64(1.1)

    def grad(xs):
        f = lambda c, x: (weight * jnp.sin(c) + x, c)
        loss = lambda xs: jnp.sum(truncated_scan(f, jnp.ones_like(xs[0]), xs, horizon=3)[1])
        return jax.grad(loss)(xs)

    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape(sizes), jnp.float64)
    exported = jax.export.export(jax.jit(grad))(shape)
    for size in (2, 5, 9):
        xs = jnp.cos(jnp.arange(float(3 * size))).reshape((size, 3))
        xs = xs if sizes.startswith("steps") else jnp.resize(xs, (5, size))
        np.testing.assert_allclose(exported.call(xs), grad(xs), rtol=1e-12)


def test_symbolic_steps_have_no_blocks():
    def grad(xs):
        step = lambda c, x: (c + x, c)
        return truncated_scan(step, jnp.float64(0.0), xs, horizon=3, stride=2)[1]

    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("steps"), jnp.float64)
    with pytest.raises(ValueError, match=r"^truncated_scan: a symbolic number of steps needs stri"):
        jax.export.export(jax.jit(grad))(shape)
