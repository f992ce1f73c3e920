"""Times the gradient of elementwise carries against the horizon: windows and sweeps.

    python -m benchmarks.elementwise

Three recurrences, of a diagonal state-space model (LRU), a gated average (minGRU) and spiking
neurons (LIF), with projected inputs and no readout. `windows` is `truncated_scan` of the step as it
is; `sweeps` is that of the same step with its carry reversed and reversed again, which XLA removes
and `truncated_scan` does not know. Then stacks of minGRU layers, as one scan with all layers in the
carry, which takes sweeps, and as one scan for each layer, whose horizon holds for each layer by
itself. All variants of a case are timed in alternation beside `jax.lax.scan`'s full BPTT. Ten
minutes on two cores; numbers and chart go into --out.
"""

import functools

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import elementwise_chart
from benchmarks.recurrence import compiled, measure
from benchmarks.worker import THREADS
from experiments.record import alternation, launch, results
from tbptt_jax import truncated_scan

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)

BATCH, STEPS, STATE = 8, 4096, 256
HORIZONS = (2, 8, 32, 64, 128, 512, 2048)
STACK_STEPS, STACK_HORIZON, DEPTHS = 1024, 64, (2, 4)


def lru(params, carry, x):
    """A diagonal state-space model: c = λ c₋₁ + x, complex; its output is the real part."""
    rate, angle = params
    carry = jnp.exp(jax.lax.complex(-jnp.exp(rate), angle)) * carry + jax.lax.complex(*x)
    return carry, carry.real


def min_gru(params, carry, x):
    """A gated average: c = (1 - z) c₋₁ + z tanh(x'), with a gate z that does not read c₋₁."""
    gate = jax.nn.sigmoid(x[0] + params[0])
    carry = (1.0 - gate) * carry + gate * jnp.tanh(x[1] + params[1])
    return carry, carry


@jax.custom_jvp
def spike(voltage):
    """1 where the voltage is above 0; its derivative is a fast sigmoid's."""
    return (voltage > 0.0).astype(voltage.dtype)


@spike.defjvp
def _(primals, tangents):
    (voltage,), (tangent,) = primals, tangents
    return spike(voltage), tangent / (1.0 + jnp.abs(voltage)) ** 2


def lif(params, carry, x):
    """Leaky integrate-and-fire neurons; the voltage falls by 1 where the last step spiked."""
    voltage, spiked = carry
    voltage = jax.nn.sigmoid(params[0]) * voltage + x[0] - spiked
    spiked = spike(voltage - jax.nn.softplus(params[1]))
    return (voltage, spiked), spiked


CELLS = {"LRU": lru, "minGRU": min_gru, "LIF": lif}


def problem(cell, batch=BATCH, steps=STEPS, state=STATE):
    """((params, init, xs), cotangents of the outputs)."""
    keys = jax.random.split(jax.random.key(0), 5)
    normal = jax.random.normal
    zeros = jnp.zeros((batch, state))
    init = {"LRU": jax.lax.complex(zeros, zeros), "minGRU": zeros, "LIF": (zeros, zeros)}[cell]
    params = normal(keys[0], (state,)) - 2.0, normal(keys[1], (state,))
    xs = normal(keys[2], (steps, batch, state)), normal(keys[3], (steps, batch, state))
    return (params, init, xs), normal(keys[4], (steps, batch, state))


def twice_reversed(step):
    """The same step, in a form that `truncated_scan` does not take for elementwise."""
    flip = functools.partial(jax.tree.map, lambda leaf: jnp.flip(leaf, -1))
    return lambda carry, x: step(flip(flip(carry)), x)


def scanned(cell, scan, wrap=lambda step: step, **sizes):
    """The compiled gradient, and its arguments."""
    args, errors = problem(cell, **sizes)

    def loss(args):
        params, init, xs = args
        step = functools.partial(CELLS[cell], params)
        return jnp.vdot(scan(wrap(step), init, xs)[1], errors)

    return compiled(loss, (args,))


def layer(params, carry, x):
    """A minGRU layer over what is below it."""
    kernels, biases = params
    return min_gru(biases, carry, (x @ kernels[0], x @ kernels[1]))


def stacked(scan, depth, *, one_carry, batch=BATCH, steps=STACK_STEPS, state=STATE):
    """The compiled gradient of a stack of minGRU layers, and its arguments."""
    (biases, init, (xs, _)), errors = problem("minGRU", batch, steps, state)
    keys = jax.random.split(jax.random.key(1), depth)
    kernels = [jax.random.normal(key, (2, state, state)) / state**0.5 for key in keys]

    def all_layers(kernels, biases, carries, x):
        new = []
        for of_layer, carry in zip(kernels, carries, strict=True):
            carry, x = layer((of_layer, biases), carry, x)
            new.append(carry)
        return new, x

    def loss(args):
        kernels, biases, xs = args
        if one_carry:
            ys = scan(functools.partial(all_layers, kernels, biases), [init] * depth, xs)[1]
        else:
            ys = xs
            for of_layer in kernels:
                ys = scan(functools.partial(layer, (of_layer, biases)), init, ys)[1]
        return jnp.vdot(ys, errors)

    return compiled(loss, ((kernels, biases, xs),))


def against_horizon(cell: str, rounds: int) -> list[dict]:
    """Full BPTT, windows and sweeps at every horizon; printed line by line."""
    found = []
    for horizon in HORIZONS:
        scan = functools.partial(truncated_scan, horizon=horizon)
        variants = {
            "full": scanned(cell, jax.lax.scan),
            "windows": scanned(cell, scan),
            "sweeps": scanned(cell, scan, twice_reversed),
        }
        result = measure(variants, rounds)
        _print(f"{cell}, horizon {horizon}", result)
        found.append({"horizon": horizon} | result)
    return found


def stacks(depth: int, rounds: int) -> dict:
    """A stack both ways, full and truncated."""
    truncated = functools.partial(truncated_scan, horizon=STACK_HORIZON)
    result = measure(
        {
            "full, one carry": stacked(jax.lax.scan, depth, one_carry=True),
            "full, a scan a layer": stacked(jax.lax.scan, depth, one_carry=False),
            "one carry": stacked(truncated, depth, one_carry=True),
            "a scan a layer": stacked(truncated, depth, one_carry=False),
        },
        rounds,
    )
    _print(f"{depth} layers", result)
    return {"depth": depth} | result


def _print(title, result):
    each = (
        f"{name} {of['milliseconds']:.0f} ms ({of['ratio'][1]:.2f}x), {of['megabytes']:.0f} MB"
        for name, of in result.items()
    )
    print(f"{title}: {'; '.join(each)}", flush=True)


def main() -> None:
    """Times, prints, writes and draws."""
    out, rounds = results.folder(), flags.FLAGS.rounds
    sizes = {"batch": BATCH, "steps": STEPS, "state": STATE}
    report = {"rounds": rounds, "sizes": sizes}
    report["cells"] = {cell: against_horizon(cell, rounds) for cell in CELLS}
    report["stack_sizes"] = sizes | {"steps": STACK_STEPS, "horizon": STACK_HORIZON}
    report["stacks"] = [stacks(depth, max(3, rounds // 4)) for depth in DEPTHS]
    report = results.write(out, "elementwise", report)
    elementwise_chart.draw(report, out / "elementwise.png")


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
