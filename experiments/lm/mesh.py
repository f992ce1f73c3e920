"""The language model on several devices: who has what, and the loss and its gradient over all.

Along the mesh's axis `data` each device has its share of the streams. Along `model` it has its
share of the vocabulary: rows of the embedding, columns of the readout. All else is on every device.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from experiments.lm import loss, models
from experiments.lm.settings import Settings
from experiments.record.errors import UserError
from experiments.text.sequences import Slice

DATA, MODEL = "data", "model"
STREAMS = PartitionSpec(None, DATA)  # of what is [T, B, ...]
VOCABULARY = {
    ("embedding", "embedding"): PartitionSpec(MODEL),
    ("readout", "kernel"): PartitionSpec(None, MODEL),
    ("readout", "bias"): PartitionSpec(MODEL),
}

flags.DEFINE_string(
    "mesh",
    None,
    "Devices: data:N gives each of N its share of the streams; data:N,model:M gives each of M "
    "times as many its share of the vocabulary too. Default one device, or with several processes "
    "data over all.",
)


def mesh_from_flags(model: models.LanguageModel, settings: Settings) -> Mesh | None:
    """The devices that --mesh asks for; None for one device.

    Raises:
      UserError: it does not fit the devices, the batch or the vocabulary.
    """
    asked = flags.FLAGS.mesh
    if asked is None and jax.process_count() == 1:
        return None
    asked = asked or f"{DATA}:{jax.device_count()}"
    sizes = _sizes(asked)
    num, found = int(np.prod(list(sizes.values()))), jax.device_count()
    if num > found or (num < found and jax.process_count() > 1):
        raise UserError(
            f"--mesh={asked} is of {num} devices, and JAX finds {found}; name as many (on a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={num} makes {num})."
        )
    if settings.batch_size % sizes[DATA]:
        raise UserError(
            f"--mesh={asked}: a --batch_size of {settings.batch_size} streams is no multiple of "
            f"{sizes[DATA]}."
        )
    if model.vocab_size % sizes.get(MODEL, 1):
        raise UserError(
            f"--mesh={asked}: a vocabulary of {model.vocab_size} is no multiple of "
            f"{sizes[MODEL]}; with --vocab_size="
            f"{model.vocab_size - model.vocab_size % sizes[MODEL]} it is."
        )
    if settings.backward == "windows" or settings.bias is not None:
        flag = "--backward=windows" if settings.bias is None else "--bptt=auto"
        raise UserError(f"--mesh={asked} does not go with {flag}.")
    return jax.make_mesh(
        tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes)
    )


def _sizes(asked: str) -> dict[str, int]:
    """The axes of --mesh, in its order."""
    parts = [part.split(":") for part in asked.split(",")]
    sizes = {part[0]: int(part[1]) for part in parts if len(part) == 2 and part[1].isdecimal()}
    if (
        tuple(sizes) not in ((DATA,), (DATA, MODEL))
        or len(sizes) < len(parts)
        or 0 in [*sizes.values()]
    ):
        raise UserError(f"--mesh={asked} must be data:N or data:N,model:M, N and M from 1.")
    return sizes


def make_loss(mesh: Mesh | None, model: models.LanguageModel, settings: Settings, **options):
    """`loss.make_loss`, whose loss and gradient over all devices are those of one.

    The gradient is summed over `data` once. The embedding's rows are collected over `model` once,
    for all steps; of the logits, each device computes its own columns.
    """
    if mesh is None:
        return loss.make_loss(model, settings, **options)
    vocab_axis = MODEL if MODEL in mesh.axis_names else None
    loss_fn = loss.make_loss(model, settings, vocab_axis=vocab_axis, **options)

    def local(params, carry, batch):
        params = _of_each_device(params)
        if vocab_axis:
            params = params | {"embedding": {"embedding": _all_rows(params["embedding"])}}
        mean, carry = loss_fn(params, carry, batch)
        num = jnp.sum(batch[1] >= 0).astype(mean.dtype)
        total, num = jax.lax.psum((mean * num, num), DATA)
        return total / num, carry

    carries = _carry_specs(model, settings)

    def over_all(params, carry, batch):
        specs = _param_specs(mesh, params), carries, jax.tree.map(lambda _: STREAMS, batch)
        args = params, carry, batch
        if AxisType.Explicit in mesh.axis_types:
            args = jax.sharding.reshard(args, _shardings(mesh, specs))
        run = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(PartitionSpec(), carries))
        return run(*args)

    return over_all


def _of_each_device(params):
    """The parameters, whose gradient is then summed over `data` once, not wherever one is used."""
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, DATA, to="varying"), params)


def _all_rows(embedding):
    rows = embedding["embedding"]
    return jax.lax.all_gather(rows, MODEL, axis=0, tiled=True, to="invarying")


def place(mesh: Mesh | None, state: Any) -> Any:
    """Parameters or an optimizer's state, whole in every process, on the devices."""
    if mesh is None:
        return state
    return jax.tree.map(_on_devices, state, _shardings(mesh, _param_specs(mesh, state)))


def place_carry(mesh: Mesh | None, model: models.LanguageModel, settings: Settings, carry: Any):
    """A carry, whole in every process, on the devices."""
    if mesh is None:
        return carry
    return jax.tree.map(_on_devices, carry, _shardings(mesh, _carry_specs(model, settings)))


def _on_devices(leaf, sharding):
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def own_streams(mesh: Mesh | None, batch_size: int) -> slice:
    """The streams that this process reads."""
    if mesh is None:
        return slice(0, batch_size)
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    indices = sharding.addressable_devices_indices_map((batch_size,)).values()
    bounds = [index[0].indices(batch_size)[:2] for index in indices if index]
    return slice(min(first for first, _ in bounds), max(stop for _, stop in bounds))


def place_slice(mesh: Mesh | None, batch_size: int, part: Slice) -> Slice:
    """Sequences of this process's streams as those of all, each stream on its device."""
    if mesh is None:
        return part
    first = own_streams(mesh, batch_size).start
    sharding = NamedSharding(mesh, PartitionSpec(None, *STREAMS))

    def whole(own):
        shape = (*own.shape[:2], batch_size)

        def piece(index):
            start, stop, _ = index[2].indices(batch_size)
            return own[:, :, start - first : stop - first]

        return jax.make_array_from_callback(shape, sharding, piece)

    return part._replace(inputs=whole(part.inputs), targets=whole(part.targets))


def taking_own_streams(mesh: Mesh | None, batch_size: int, train_loop: Callable) -> Callable:
    """The compiled loop of updates, given a slice of this process's streams."""
    if mesh is None:
        return train_loop

    def run(state, source, start, stop):
        part, key = source
        return train_loop(state, (place_slice(mesh, batch_size, part), key), start, stop)

    return run


def epoch_key(mesh: Mesh | None, seed: int, epoch: int) -> jax.Array:
    """The key of an epoch's random numbers."""
    return _key_on(mesh)(seed, epoch)


@functools.cache
def _key_on(mesh):
    make = lambda seed, epoch: jax.random.fold_in(jax.random.key(seed), epoch)
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return jax.jit(make, out_shardings=everywhere)


def _shardings(mesh, specs):
    is_spec = lambda leaf: isinstance(leaf, PartitionSpec)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=is_spec)


def _param_specs(mesh, tree):
    """By the parameters' names, which end the paths of an optimizer's moments too."""

    def spec(path, _):
        names = tuple(key.key for key in path[-2:] if isinstance(key, jax.tree_util.DictKey))
        return (
            VOCABULARY.get(names, PartitionSpec()) if MODEL in mesh.axis_names else PartitionSpec()
        )

    return jax.tree_util.tree_map_with_path(spec, tree)


def _carry_specs(model, settings):
    """Where a leaf's size is the batch's, there its streams are cut."""

    def shapes(batch_size):
        resized = settings._replace(batch_size=batch_size)
        return jax.eval_shape(lambda: loss.first_carry(model, resized))

    cut = lambda one, other: PartitionSpec(
        *(DATA if m != n else None for m, n in zip(one.shape, other.shape, strict=True))
    )
    return jax.tree.map(cut, shapes(settings.batch_size), shapes(2 * settings.batch_size))
