"""Checkpoints: what is restored is what was saved, or one that was saved before, never another."""

import errno
import os
import random
import resource
import shutil

import chex
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
import pytest

from experiments.record import checkpoints
from experiments.record.errors import UserError

pytestmark = pytest.mark.standard


def state(number):
    params = {"w": jnp.full((50, 40), float(number)), "half": jnp.ones((3, 2), jnp.bfloat16)}
    rest = {"adam": optax.adam(1.0).init(params), "empty": jnp.zeros((0, 3)), "none": None}
    return {"number": jnp.int32(number), "params": params, **rest}


def save(folder, number, loss=1.0):
    checkpoints.save(folder, number, state(number), {"epochs": [{"epoch": number}]}, loss)


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    save(folder, 1)
    save(folder, 2)
    return folder


@pytest.fixture
def saved(two_saved, tmp_path):
    return shutil.copytree(two_saved, tmp_path / "run" / "checkpoints")


def restored_number(folder):
    """The number of the state that is restored; all of it must be that one's."""
    found, about = checkpoints.restore(folder, state(0))
    number = int(found["number"])
    chex.assert_trees_all_equal(found, state(number))
    assert about == {"epochs": [{"epoch": number}]}
    return number


def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]


def test_a_flipped_bit_anywhere_leads_to_the_checkpoint_before(two_saved, tmp_path, capsys):
    rng = random.Random(0)
    for number, path in enumerate(files_of(two_saved / "2")):
        folder = shutil.copytree(two_saved, tmp_path / str(number) / "checkpoints")
        damaged = folder / path.relative_to(two_saved)
        content = bytearray(damaged.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(content)
        assert restored_number(folder) == 1, path
        warnings = [line for line in capsys.readouterr().err.splitlines() if "warning:" in line]
        assert len(warnings) == 1 and f"{folder / '2'} is damaged" in warnings[0]
        assert (folder.parent / "damaged-checkpoint-2").is_dir()
        save(folder, 2)  # the run goes on
        assert restored_number(folder) == 2


def test_a_file_that_is_gone_is_damage_too(saved):
    next(path for path in files_of(saved / "2") if "state" in path.parts).unlink()
    assert restored_number(saved) == 1


def test_a_save_that_was_killed_before_its_end_does_not_count(saved, capsys):
    (saved / "2" / checkpoints.CHECKSUMS).unlink()
    assert restored_number(saved) == 1
    assert not (saved / "2").exists() and not capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"loss": "1", "files": {}}', "[" * 9999])
def test_damaged_checksums_of_an_older_one_do_not_stop_a_run(saved, capfd, content):
    (saved / "1" / checkpoints.CHECKSUMS).write_text(content)
    assert restored_number(saved) == 2
    save(saved, 3)
    (warning,) = capfd.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {saved / '1'} is damaged (")
    assert (saved.parent / "damaged-checkpoint-1" / "state").is_dir()
    assert restored_number(saved) == 3


def test_only_what_a_save_has_left_unfinished_is_removed(saved):
    own = [saved / name for name in ("²", "notes", "07", "2.old")]
    left = [saved / name for name in ("3", "4.orbax-checkpoint-tmp")]
    for path in [*own, *left]:
        path.mkdir()
    assert restored_number(saved) == 2
    save(saved, 3)
    assert all(path.is_dir() for path in own) and not left[1].exists()
    assert restored_number(saved) == 3


@pytest.mark.parametrize("method", ["save", "restore"])
def test_a_process_that_ends_meanwhile_is_no_fault_of_the_disk(saved, monkeypatch, method):
    """Whatever fails between the processes is raised as it is, and nothing is set aside."""
    lost = ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")

    def fail(*args, **options):
        monkeypatch.setattr(checkpoints.processes, "wait", fail)
        raise lost

    monkeypatch.setattr(ocp.CheckpointManager, method, fail)
    before = files_of(saved.parent)
    with pytest.raises(ValueError, match="Gloo AllGather") as raised:
        save(saved, 3) if method == "save" else restored_number(saved)
    assert raised.value is lost and files_of(saved.parent) == before


def test_where_all_are_damaged_nothing_is_touched(saved):
    for path in files_of(saved):
        path.write_bytes(b"damaged")
    before = files_of(saved.parent)
    with pytest.raises(UserError, match=r"^no checkpoint in .* is whole: .*; name another"):
        checkpoints.restore(saved, state(0))
    assert files_of(saved.parent) == before


def test_reading_falls_back_and_writes_nothing(saved):
    next(path for path in files_of(saved / "2") if "state" in path.parts).write_bytes(b"damaged")
    before = files_of(saved.parent)
    found, _ = checkpoints.read(saved)
    assert found["number"] == 1 and files_of(saved.parent) == before


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    for number, loss in enumerate([3.0, 1.0, 2.0, 2.0, 2.5], 1):
        save(tmp_path, number, loss)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4", "5"]


def test_without_a_loss_none_is_the_best(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path, number, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_a_save_that_fails_is_one_line_and_the_last_one_stays(saved):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    big = jax.random.normal(jax.random.key(0), (100, 100))
    try:
        with pytest.raises(UserError) as failed:
            checkpoints.save(saved, 3, {"big": big}, {}, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_the_last_one_stays(saved, str(failed.value))


def test_checksums_that_cannot_be_written_are_a_save_that_fails(saved, monkeypatch):
    move = os.replace

    def no_room(source, target):
        if os.path.basename(target) == checkpoints.CHECKSUMS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_room)
        with pytest.raises(UserError, match="No space left on device") as failed:
            save(saved, 3)
    assert_the_last_one_stays(saved, str(failed.value))


def assert_the_last_one_stays(saved, said):
    assert said.startswith("the state cannot be written") and "go on" in said and "\n" not in said
    assert restored_number(saved) == 2
    save(saved, 3)
    assert restored_number(saved) == 3
