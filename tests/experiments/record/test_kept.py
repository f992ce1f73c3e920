"""A piece of a study that is kept: what is damaged or of other settings ends in one line."""

import json

import pytest

from experiments.record import kept
from experiments.record.errors import UserError

pytestmark = pytest.mark.standard
CONFIG = {"name": "true", "num_seeds": 2}
FOUND = {"rate": 0.5, "loss": [[1.0, 2], [3, 4.5], [0.0, 1e300]]}
HOLDS = {"rate": (), "loss": (3, 2)}


def keep(path, config=None, find=None):
    return kept.kept(path, config or CONFIG, find or (lambda: FOUND), HOLDS)


def test_a_finished_piece_is_read_with_the_commit_and_the_device_that_found_it(tmp_path):
    path = tmp_path / "a" / "piece.json"
    found = keep(path)
    written = json.loads(path.read_text())
    assert found == FOUND | {"commit": written["commit"], "device": written["device"]}
    another = {"commit": "another", "device": "gpu: H100"}
    path.write_text(json.dumps(written | another))
    assert keep(path, find=pytest.fail) == FOUND | another


def without(name):
    return lambda piece: json.dumps({key: piece[key] for key in piece if key != name})


def having(name, value):
    return lambda piece: json.dumps(piece | {name: value})


DAMAGES = {
    "cut off": (lambda piece: json.dumps(piece)[:-9], ""),
    "no object": (lambda _: "[]", r"the file cannot be \[\]"),
    "no commit": (without("commit"), "commit is missing"),
    "no device": (without("device"), "device is missing"),
    "no number": (without("rate"), r"rate is not numbers of the shape \[\]"),
    "no list": (without("loss"), r"loss is not numbers of the shape \[3, 2\]"),
    "a list for a number": (having("rate", [0.5]), "rate is not"),
    "a truth value": (having("rate", True), "rate is not"),
    "a null": (having("rate", None), "rate is not"),
    "a text": (having("loss", [["1", "2"]] * 3), "loss is not"),
    "a number for a list": (having("loss", 1.0), "loss is not"),
    "too short": (having("loss", FOUND["loss"][:2]), "loss is not"),
    "too long": (having("loss", FOUND["loss"] * 2), "loss is not"),
    "ragged": (having("loss", [[1.0, 2.0], [1.0], [1.0, 2.0]]), "loss is not"),
    "too deep": (having("loss", [[[1.0], [2.0]]] * 3), "loss is not"),
    "infinite": (lambda piece: json.dumps(piece).replace("0.5", "1e999"), "rate is not"),
}


@pytest.mark.parametrize("damaged, why", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_piece_is_refused_and_left_as_it_is(tmp_path, damaged, why):
    path = tmp_path / "piece.json"
    keep(path)
    path.write_text(content := damaged(json.loads(path.read_text())))
    said = rf"^{path} is damaged \({why}.*\); remove it to run it again\.$"
    with pytest.raises(UserError, match=said):
        keep(path, find=pytest.fail)
    assert path.read_text() == content


@pytest.mark.parametrize("config", [CONFIG | {"num_seeds": 3}, CONFIG | {"rounds": 2}])
def test_a_piece_of_other_settings_is_refused(tmp_path, config):
    path = tmp_path / "piece.json"
    keep(path)
    with pytest.raises(UserError, match=rf"^{path} has .*; move it away\.$"):
        keep(path, config, pytest.fail)


def test_a_folder_in_place_of_a_piece_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path} cannot be read: .*; move it away\.$"):
        keep(tmp_path, find=pytest.fail)
