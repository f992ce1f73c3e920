"""The pieces of all studies: where they are kept, and what they are compared with."""

import inspect
import json
import types

import numpy as np
import pytest
from texts import TEXTS, write

from experiments import dependency, forgetting, table, williams_peng
from experiments.record import kept, results
from experiments.record.errors import UserError
from experiments.studies import (
    adaptive,
    brackets,
    ptb_lstm,
    solver,
    state_passing,
    temporal_credit,
    unbiased,
)

pytestmark = pytest.mark.standard
STUDIES = {
    module.__name__.split(".")[-1]: module
    for module in (
        adaptive,
        brackets,
        dependency,
        forgetting,
        solver,
        state_passing,
        temporal_credit,
        unbiased,
        williams_peng,
    )
}
OF_TEXT = {"ptb_lstm": (ptb_lstm,), "table": (table,), "on text": (williams_peng, "--task=ptb")}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """What a study does beside its pieces."""
    monkeypatch.setattr(solver, "all_states", lambda task: None)
    monkeypatch.setattr(state_passing, "LENGTHS", (2, 16))
    monkeypatch.setattr(state_passing, "NEAR", 2)


@pytest.fixture
def text(tmp_path):
    """A short text, for the study that has pieces of it."""
    return {state_passing: [f"--data_dir={write(tmp_path / 'text', TEXTS)}"]}


@pytest.mark.parametrize(
    "module, args",
    [(module, ()) for module in STUDIES.values()] + [(m, a) for m, *a in OF_TEXT.values()],
    ids=[*STUDIES, *OF_TEXT],
)
def test_a_scratch_that_is_no_folder_ends_a_study_before_it_works(
    module, args, exit_of, monkeypatch
):
    monkeypatch.setattr(kept, "kept", None)
    said = exit_of(module, *args, "--scratch=/dev/null")
    reason = "cannot be used: Not a directory; name another folder."
    assert said == f"error: --scratch=/dev/null {reason}"


def given(function):
    """Numbers and names that a function holds beside its arguments."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [
        each for each in (*cells, *(function.__defaults__ or ())) if isinstance(each, int | str)
    ]


def names(code):
    """What the code, or a function in it, looks up."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*map(names, inner))


def reads(module, function):
    """Constants of a module, in capitals, that a function reads, or others that it calls there."""
    found, seen, functions = {}, set(), [function]
    while functions:
        function = inspect.unwrap(functions.pop())
        if not isinstance(function, types.FunctionType) or function in seen:
            continue
        seen.add(function)
        functions += [cell.cell_contents for cell in function.__closure__ or ()]
        for name in names(function.__code__) & vars(module).keys():
            value = getattr(module, name)
            if name.isupper():
                found[name] = value
            elif getattr(value, "__module__", None) == module.__name__:
                functions.append(value)
    return found


def as_json(value):
    return json.dumps(value._asdict() if hasattr(value, "_asdict") else value)


def numbers_and_names(config):
    """All values in it, those of its objects too."""
    for value in config.values():
        yield from numbers_and_names(value) if isinstance(value, dict) else [value]


@pytest.mark.parametrize("module", STUDIES.values(), ids=STUDIES)
def test_a_piece_is_compared_with_all_that_its_function_reads(module, exit_of, text, monkeypatch):
    """And the result names the commit of each."""
    pieces = []

    def piece(path, config, find, holds):
        pieces.append((config, find))
        ones = {name: np.ones(shape).tolist() for name, shape in holds.items()}
        return ones | {"commit": f"of piece {len(pieces)}", "device": "cpu: cpu"}

    def end(out, name, found):
        said = json.dumps(found)
        assert all(f'"of piece {i}"' in said for i in range(1, len(pieces) + 1))
        raise UserError("all pieces are there")

    monkeypatch.setattr(kept, "kept", piece)
    monkeypatch.setattr(results, "write", end)
    flags = ["--num_seeds=13", *(["--rounds=17"] if module is solver else [])]
    assert exit_of(module, *flags, *text.get(module, [])) == "error: all pieces are there"
    assert pieces
    for config, find in pieces:
        compared = [*numbers_and_names(config)]
        assert all(value in compared for value in given(find)), (given(find), config)
        constants = reads(module, find)
        assert constants
        for name, value in constants.items():
            chosen = isinstance(value, dict) and any(key in compared for key in value)
            assert chosen or as_json(config.get(name.lower())) == as_json(value), name
