"""The files of a run's folder: whatever stands in them, or in their place, ends in one line."""

import json
import os
from pathlib import Path

import pytest

from experiments.record import kept, run_folder
from experiments.record.errors import UserError

pytestmark = pytest.mark.standard
CONFIG = {"num_epochs": 3, "rate": 0.1, "corpus": {"name": "text", "tokens": {"train": 5}}}
OTHERS = [None, "4", 2.5, [], {}, {"a": {"b": []}}]


def begin(workdir, **changed):
    run_folder.begin(workdir, CONFIG | changed, may_grow=("num_epochs",))


def edited(config):
    """The configuration with one value changed or left out, for every value on its every level."""
    for name, value in config.items():
        others = [*OTHERS, *(edited(value) if isinstance(value, dict) else [])]
        yield from (config | {name: other} for other in others)
        yield {key: value for key, value in config.items() if key != name}


def test_any_edit_of_a_config_is_refused_in_one_line_that_names_the_run(tmp_path):
    begin(tmp_path)
    path = tmp_path / run_folder.CONFIG
    rest = {name: v for name, v in json.loads(path.read_text()).items() if name not in CONFIG}
    contents = [json.dumps(each | rest) for each in edited(CONFIG)]
    for content in [*contents, "", "[]", "null", '"text"', "NaN", "[" * 9999, "\ufeff{}"]:
        path.write_text(content)
        with pytest.raises(UserError) as refused:
            begin(tmp_path, num_epochs=4)
        assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)
        assert path.read_text() == content


@pytest.mark.parametrize("epochs", ["4", None, 2.5, [3]])
def test_a_number_of_epochs_that_is_none_is_damage(tmp_path, epochs):
    begin(tmp_path)
    path = tmp_path / run_folder.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_epochs": epochs}))
    with pytest.raises(UserError, match=r"config.json is damaged \(num_epochs cannot be "):
        begin(tmp_path, num_epochs=5)


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_lost(tmp_path):
    write = {
        run_folder.CONFIG: lambda: begin(tmp_path, num_epochs=4),
        run_folder.METRICS: lambda: run_folder.write_metrics(tmp_path, [{"epoch": 2}]),
        "kept.json": lambda: kept.kept(tmp_path / "kept.json", {}, dict, {}),
    }
    begin(tmp_path)
    run_folder.write_metrics(tmp_path, [{"epoch": 1}])
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    for name, write_file in write.items():
        scratch: Path = tmp_path / f"{name}.{os.getpid()}.new"
        scratch.mkdir()
        with pytest.raises(UserError) as failed:
            write_file()
        said = f"{scratch} cannot be written: Is a directory; mend that, or name another folder."
        assert str(failed.value) == said
        scratch.rmdir()
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / run_folder.METRICS).mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl cannot be written: Is a directory; mend"):
        run_folder.write_metrics(tmp_path, [])
