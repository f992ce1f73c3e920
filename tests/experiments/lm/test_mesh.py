"""The language model on several devices: one device's loss, gradient and run; few collectives."""

import collectives
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from small_model import SETTINGS, corpus

from experiments.lm import mesh as devices
from experiments.lm import models, training
from experiments.lm.loss import first_carry
from experiments.lm.styles import schedule

pytestmark = pytest.mark.standard

PLANS = {
    "true": schedule("true", 3, seq_len=7),
    "semi": schedule("semi", 5, 2, seq_len=8),
    "epochwise": schedule("epochwise", 3, seq_len=6),
    "full": schedule("full", seq_len=7),
}
CASES = [
    ({"data": 8}, "true", "cut"),
    ({"data": 8}, "semi", "cut"),
    ({"data": 8}, "epochwise", "cut"),
    ({"data": 8}, "full", "cut"),
    ({"data": 4}, "true", "exact"),
    ({"data": 4}, "semi", "exact"),
    ({"data": 2, "model": 4}, "true", "cut"),
    ({"data": 2, "model": 4}, "epochwise", "exact"),
    ({"data": 1, "model": 2}, "full", "cut"),
]


@pytest.fixture
def float64(monkeypatch):
    monkeypatch.setitem(models.PRECISIONS, "float32", jnp.float64)
    with jax.enable_x64(True):
        yield


def as_float64(tree):
    is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.tree.map(lambda leaf: leaf.astype(float) if is_float(leaf) else leaf, tree)


def make_mesh(sizes, axis_type=AxisType.Auto):
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(axis_type,) * len(sizes))


def problem(style, seams="cut", cell="vanilla"):
    settings = SETTINGS._replace(schedule=PLANS[style], batch_size=8, seams=seams, carry="clean")
    return models.LanguageModel(12, 5, 6, cell), settings


def first_updates(mesh, model, settings, num=2):
    """Losses, gradients and carries of the first sequences, with parameters that stand still."""
    text = training.cut(corpus(), settings, mesh).train
    params = models.init_params(model, jax.random.key(0))
    params = devices.place(mesh, as_float64(jax.tree.map(lambda leaf: 2.0 * leaf, params)))
    carry = devices.place_carry(mesh, model, settings, first_carry(model, settings))
    part = devices.place_slice(mesh, settings.batch_size, text.read(0, num))
    loss_fn = devices.make_loss(mesh, model, settings)

    @jax.jit
    def run(params, carry, source, i):
        batch = training.train_batch(model, settings, source, i)
        return jax.value_and_grad(loss_fn, has_aux=True)(params, carry, batch)

    found, source = [], (part, devices.epoch_key(mesh, 0, 1))
    for i in range(num):
        (value, carry), grads = run(params, carry, source, i)
        found.append((value, carry, grads))
    program = run.lower(params, carry, source, 0).compile().as_text()
    return jax.device_get(found), program, grads


def largest_difference(actual, expected):
    """Relative to each array's max-norm."""
    difference = lambda a, e: np.max(np.abs(a - e), initial=0) / (np.max(np.abs(e), initial=0) or 1)
    return max(jax.tree.leaves(jax.tree.map(difference, actual, expected)))


@pytest.mark.parametrize("sizes, style, seams", CASES, ids=str)
def test_loss_gradient_and_carry_are_those_of_one_device(float64, sizes, style, seams):
    model, settings = problem(style, seams, "lstm" if "model" in sizes else "vanilla")
    expected, _, _ = first_updates(None, model, settings)
    mesh = make_mesh(sizes)
    actual, _, grads = first_updates(mesh, model, settings)
    assert largest_difference(actual, expected) < 1e-10
    spec = PartitionSpec(None, "model" if "model" in sizes else None)
    assert grads["readout"]["kernel"].sharding.is_equivalent_to(NamedSharding(mesh, spec), 2)


@pytest.mark.parametrize("sizes", [{"data": 4}, {"data": 2, "model": 2}], ids=str)
def test_explicit_axes_give_the_same(float64, sizes):
    model, settings = problem("true", "exact")
    expected, _, _ = first_updates(None, model, settings)
    with jax.set_mesh(make_mesh(sizes, AxisType.Explicit)) as mesh:
        actual, _, _ = first_updates(mesh, model, settings)
    assert largest_difference(actual, expected) < 1e-10


def test_what_a_loop_sends_is_counted():
    def local(x):
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.tanh(jax.lax.pmean(x, "data")), x)

    run = jax.shard_map(
        local, mesh=make_mesh({"data": 8}), in_specs=PartitionSpec(), out_specs=PartitionSpec()
    )
    program = jax.jit(run).lower(jnp.ones(3)).compile().as_text()
    assert collectives.count(program) == ({"all-reduce": 1}, {"all-reduce": 1})


def test_nothing_is_sent_inside_a_loop_and_truncation_sends_no_more():
    """The loss and the gradient are summed once, by XLA's choice in one collective or in two."""
    found = {}
    for style in PLANS:
        _, program, _ = first_updates(make_mesh({"data": 8}), *problem(style), num=1)
        found[style] = collectives.count(program)
    everywhere, inside = found["full"]
    assert set(everywhere) == {"all-reduce"} and everywhere.total() <= 2 and not inside
    assert all(counts == found["full"] for counts in found.values())


def test_with_the_vocabulary_shared_out_the_loop_over_time_still_sends_nothing():
    """What the loop over blocks of tokens sends, full BPTT sends too."""
    found = {}
    for style in PLANS:
        settings = problem(style)
        _, program, _ = first_updates(make_mesh({"data": 2, "model": 4}), *settings, num=1)
        found[style] = collectives.count(program)
    everywhere, inside = found["full"]
    assert everywhere["all-gather"] == 1 and sum(inside.values()) <= 2
    assert all(counts == found["full"] for counts in found.values())


@pytest.mark.parametrize("sizes", [{"data": 4}, {"data": 2, "model": 2}], ids=str)
@pytest.mark.parametrize("evaluate", [None, "all"])
def test_run_is_that_of_one_device(float64, sizes, evaluate):
    expected, expected_losses = whole_run(None, evaluate)
    actual, losses = whole_run(make_mesh(sizes), evaluate)
    assert largest_difference(actual, expected) < 1e-9  # after 84 updates by Adam
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)  # as they are kept


def whole_run(mesh, evaluate):
    """Each epoch's parameters and training loss, in float64; the losses of the evaluations."""
    model, settings = problem("semi")
    settings = settings._replace(num_epochs=2, evaluate=evaluate)
    text, trained, losses = training.cut(corpus(), settings, mesh), [], []
    start = jax.device_get(training.start(model, text, settings))
    as_wide = {name: as_float64(getattr(start, name)) for name in ("params", "opt_state")}
    start = start._replace(**as_wide, best_params=as_wide["params"])
    placed = {
        name: devices.place(mesh, getattr(start, name))
        for name in ("params", "opt_state", "best_params")
    }
    carry = devices.place_carry(mesh, model, settings, start.carry)

    def report(epoch, progress):
        trained.append((epoch.train_loss, jax.device_get(progress.params)))
        losses.append(epoch.valid_loss)

    start = start._replace(**placed, carry=carry)
    result = training.train(model, text, settings, start, report, mesh=mesh)
    return trained, [*losses, result.test_loss]


def test_epochs_on_a_mesh_are_compiled_once(caplog):
    mesh = make_mesh({"data": 2, "model": 2})
    model, settings = problem("true")
    settings = settings._replace(num_epochs=3)
    text = training.cut(corpus(), settings, mesh)
    start = training.start(model, text, settings, mesh)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        training.train(model, text, settings, start, lambda *_: None, mesh=mesh)
    compiled = [line for line in caplog.messages if "Finished XLA compilation of" in line]
    assert sum("train_loop" in line for line in compiled) == 1
    assert sum("evaluate_slice" in line for line in compiled) == 1


@pytest.mark.parametrize("sizes", [{"data": 4}, {"data": 2, "model": 2}], ids=str)
def test_a_process_reads_only_its_own_streams(sizes):
    mesh, (_, settings) = make_mesh(sizes), problem("true")
    text = training.cut(corpus(), settings, mesh).train
    part = text.read(2, 5, 6)
    whole = devices.place_slice(mesh, 8, part)
    np.testing.assert_array_equal(whole.inputs, part.inputs)
    own = text._replace(own=slice(4, 6)).read(2, 5, 6)
    np.testing.assert_array_equal(own.inputs, part.inputs[:, :, 4:6])
    np.testing.assert_array_equal(own.targets, part.targets[:, :, 4:6])
