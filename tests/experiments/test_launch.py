"""How every command ends where a user's value cannot be used, or memory does not suffice."""

import commands
import jax
import pytest

from experiments import ptb

pytestmark = pytest.mark.standard


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--workdir=", "--workdir= is empty"),
        ("--text=", "--text= is empty"),
        ("--learning_rate=inf", "--learning_rate=inf must be a finite number"),
        ("--clip_norm=nan", "--clip_norm=nan must be a finite number"),
        ("--temperature=1", "--temperature is not a flag of this command"),
    ],
)
def test_value_that_means_nothing_is_refused(flag, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert commands.exit_of(ptb, flag).startswith(f"error: {said}")
    assert not any(tmp_path.iterdir())


def test_sizes_that_memory_cannot_hold_end_in_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = "RESOURCE_EXHAUSTED: Out of memory allocating 160000000000 bytes.\nmore"

    def train(*args, **kwargs):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(ptb.run, "train", train)
    said = commands.exit_of(ptb, "--corpus=embedded")
    assert said.startswith("error: out of memory; smaller sizes may fit (RESOURCE_EXHAUSTED: ")
    assert "\n" not in said and not any((tmp_path / "runs").iterdir())
    message = "INTERNAL: a fault of XLA's"
    with pytest.raises(jax.errors.JaxRuntimeError):
        commands.exit_of(ptb, "--corpus=embedded")
