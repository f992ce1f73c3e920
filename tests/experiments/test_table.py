"""Grids of runs, and the article's table: cells run once, go on, and are checked."""

import json
import math

import numpy as np
import pytest
from texts import TEXTS, write

from experiments import table
from experiments.charts import table as table_chart
from experiments.claims import cells as table_cells
from experiments.claims import runs
from experiments.lm import grid, models
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.record.errors import UserError
from experiments.text import data
from experiments.text.sequences import sequences

pytestmark = pytest.mark.standard


def test_cell_of_a_grid_goes_on_and_refuses_another_runs_numbers(tmp_path, capsys):
    write(tmp_path / "text", TEXTS)
    corpus = data.read_corpus("ptb", tmp_path / "text")
    model = models.LanguageModel(len(corpus.vocabulary), 5, 6)
    settings = Settings(schedule("true", 2, seq_len=4), batch_size=4, num_epochs=3)
    folders = tmp_path / "done", tmp_path / "scratch"
    whole = grid.cell(*folders, "whole", model, corpus, settings)
    names = {"style", "horizon", "stride", "seq_len", "learning_rate", "seed", "cell", "state_size"}
    names |= {"batch_size", "num_epochs", "best_valid_loss", "seconds", "commit", "versions"}
    written = json.loads((tmp_path / "done" / "whole.json").read_text())
    assert names <= written.keys()
    assert written["begun"] == {key: written[key] for key in ("commit", "device")}
    assert len(whole["train_loss"]) == len(whole["valid_loss"]) == 3
    assert whole["best_valid_loss"] == min(whole["valid_loss"])
    assert grid.cell(*folders, "whole", model, corpus, settings) == whole

    real = grid.run_folder.save
    with pytest.MonkeyPatch.context() as patch:

        def save(workdir, number, tree, epochs):
            real(workdir, number, tree, epochs)
            if len(epochs) == 2:
                raise KeyboardInterrupt

        patch.setattr(grid.run_folder, "save", save)
        with pytest.raises(KeyboardInterrupt):
            grid.cell(*folders, "stopped", model, corpus, settings)
    assert not (tmp_path / "done" / "stopped.json").exists()
    stopped = grid.cell(*folders, "stopped", model, corpus, settings)
    assert "going on after epoch 2" in capsys.readouterr().out
    for name in ("train_loss", "valid_loss", "best_valid_loss", "test_loss"):
        assert stopped[name] == whole[name]
    with pytest.raises(UserError, match=r"whole.json has seed 0, not 1; move it away"):
        grid.cell(*folders, "whole", model, corpus, settings._replace(seed=1))
    (tmp_path / "done" / "whole.json").write_text("{")
    with pytest.raises(UserError, match=r"whole.json is damaged"):
        grid.cell(*folders, "whole", model, corpus, settings)


@pytest.fixture
def tiny_table(tmp_path, monkeypatch):
    """A table of 20 cells of one epoch on a few words; the flags that name them."""
    write(tmp_path / "text", TEXTS)
    md5 = data.read_corpus("ptb", tmp_path / "text").md5
    monkeypatch.setattr(data, "PTB_MD5", md5)
    small = lambda *args, **kwargs: Settings(*args, **kwargs)._replace(batch_size=4)
    monkeypatch.setattr(table_cells, "Settings", small)
    for name, value in {
        "PAIRS": ((2, 4),),
        "SCHEDULES": [schedule("true", 2, seq_len=4), schedule("epochwise", 2)],
        "CONTROLS": [schedule("epochwise", 2, seq_len=4)],
        "EXTRAS": [table_cells.Cell(schedule("full", seq_len=4), cell="lstm", carry="clean")],
        "ARTICLE": {("true", 2): (1.0, 1.1, 1.2), ("epochwise", 2): (1.3, 1.4, 1.5)},
        "SHARED": table_cells.SHARED | {"batch_size": 4},
        "NUM_EPOCHS": 1,
        "FULL": [],
        "NUM_SEEDS": 2,
    }.items():
        monkeypatch.setattr(table_cells, name, value)
    return [
        "--corpus=ptb",
        f"--data_dir={tmp_path / 'text'}",
        f"--scratch={tmp_path / 'scratch'}",
    ]


def test_table_runs_its_cells_once(study, exit_of, tiny_table, tmp_path, capsys):
    _, out = study(table, "--only=true-2-*-0.001-seed-0", *tiny_table)
    assert out.count("epoch  1") == 1 and "(1.10)" in out
    _, out = study(table, "--only=*rate-0.001*", *tiny_table)
    assert out.count("epoch  1") == 7
    printed = out[out.index("best validation loss, seed 0") :]
    said = exit_of(table, "--check", f"--results={tmp_path}", out=None)
    assert said == "error: 12 cells are missing, the first true-2-in-4-rate-0.003-seed-0."
    assert printed.startswith(capsys.readouterr().out)


def finished(cell, loss):
    """What a cell's file holds, its losses as if every epoch came to `loss`."""
    numbers = {key: [loss] * table_cells.NUM_EPOCHS for key in ("train_loss", "valid_loss")}
    numbers |= {"best_valid_loss": loss, "best_epoch": 1, "seconds": 1.0}
    numbers["test_loss"] = loss
    numbers["corpus"] = {"name": data.PTB, "md5": data.PTB_MD5, "tokens": {"train": 929589}}
    return cell.config | numbers


def test_table_is_drawn_beside_the_articles(exit_of, tiny_table, tmp_path):
    (tmp_path / "table").mkdir()
    for i, cell in enumerate(table_cells.cells()):
        path = tmp_path / "table" / f"{cell.name}.json"
        path.write_text(json.dumps(finished(cell, 1.0 + i)))
    assert exit_of(table, "--check", f"--results={tmp_path}", out=None) is None
    found, _ = runs.read(tmp_path / "table")
    table_chart.draw(found, tmp_path)
    summary = runs.summary(found)
    rows = summary.rows
    assert [(row.cell.schedule.style, row.cell.learning_rate, row.article) for row in rows] == [
        ("true", 0.003, 1.0),
        ("true", 0.001, 1.1),
        ("true", 0.0003, 1.2),
        ("epochwise", 0.003, 1.3),
        ("epochwise", 0.001, 1.4),
        ("epochwise", 0.0003, 1.5),
    ]
    assert [row.here for row in rows] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    differences = [row.here - row.article for row in rows]
    assert [row.difference for row in rows] == differences
    offsets = {
        rate: (differences[i] + differences[i + 3]) / 2 for i, rate in enumerate(table_cells.RATES)
    }
    assert summary.offsets == pytest.approx(offsets)
    assert math.isclose(summary.mean, np.mean(np.abs(differences)))
    assert summary.largest == 4.5
    assert math.isclose(summary.patterns[4], differences[4] - offsets[0.001])
    for name in ("table", "table_curves"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_check_of_no_cells_fails_and_makes_no_folder(exit_of, tmp_path):
    said = exit_of(table, "--check", f"--results={tmp_path}", out=None)
    assert said == "error: 119 cells are missing, the first true-5-in-20-rate-0.003-seed-0."
    assert list(tmp_path.iterdir()) == []
    none = tmp_path / "none"
    said = exit_of(table, "--check", f"--results={none}", out=None)
    assert said == f"error: --results={none} is no folder of results."
    assert not none.exists()


def test_check_writes_nothing(study, exit_of, tiny_table, tmp_path):
    study(table, "--only=true-2-*-0.001-seed-0", *tiny_table)
    before = {path: path.read_bytes() for path in tmp_path.glob("table*.*")}
    assert len(before) == 2
    first = "true-2-in-4-rate-0.003-seed-0"
    said = exit_of(table, "--check", f"--results={tmp_path}", out=None)
    assert said == f"error: 19 cells are missing, the first {first}."
    assert before == {path: path.read_bytes() for path in tmp_path.glob("table*.*")}
    said = exit_of(table, "--check", "--only=true*", out=None)
    assert said == "error: --only does not go with --check."
    assert exit_of(table, "--check") == "error: --out does not go with --check."


def test_the_table_is_trained_on_the_articles_text_alone(exit_of, short_text):
    said = exit_of(table, short_text)
    assert said.startswith("error: experiments.table: the text is own text")
    assert said.endswith("not the Penn Treebank.")


def test_cells_that_are_not_whole_or_not_alike_are_refused(tmp_path):
    """The file of one cell is changed in each way in turn."""
    cells = table_cells.cells()[:2]
    for cell in cells:
        (tmp_path / f"{cell.name}.json").write_text(json.dumps(finished(cell, 5.0)))
    assert list(runs.read(tmp_path)[0]) == cells
    path = tmp_path / f"{cells[1].name}.json"
    for change, said in (
        ({"seed": 1}, "has seed 1, not 0"),
        ({"carry": "clean"}, "has carry clean, not dropped"),
        ({"batch_size": 31}, "has batch_size 31, not 32"),
        ({"keep_prob": 1.0}, "has keep_prob 1.0, not 0.8"),
        ({"backward": "windows"}, "has backward windows, not sweeps"),
        ({"embed_size": 51}, "has embed_size 51, not 50"),
        ({"state_size": 4}, "has state_size 4, not 100"),
        ({"corpus": {"name": "another", "md5": {}}}, "the text is another, not the Penn Treebank"),
        ({"corpus": {"md5": data.PTB_MD5}}, "lacks tokens"),
        ({"corpus": None}, "the text is None, not the Penn Treebank"),
        ({"valid_loss": [-5.0] * 20}, "lacks a valid_loss for each of 20 epochs"),
        ({"valid_loss": [5.0]}, "lacks a valid_loss for each of 20 epochs"),
        ({"train_loss": [float("nan")] * 20}, "is damaged"),
        ({"valid_loss": None}, "lacks a valid_loss for each of 20 epochs"),
        ({"valid_loss": ["5"] * 20}, "lacks a valid_loss for each of 20 epochs"),
        ({"best_valid_loss": None}, "has a best_valid_loss that is not the least valid_loss"),
        ({"seconds": None}, "lacks seconds"),
        ({"best_valid_loss": 4.0}, "has a best_valid_loss that is not the least valid_loss"),
    ):
        path.write_text(json.dumps(finished(cells[1], 5.0) | change))
        with pytest.raises(UserError, match=said):
            runs.read(tmp_path)
    path.unlink()
    assert runs.read(tmp_path)[1] == table_cells.cells()[1:]


def test_names_of_cells_tell_them_apart():
    names = [cell.name for cell in table_cells.cells()]
    assert len(set(names)) == len(names) == 119


def test_updates_per_epoch_are_the_sequences_of_the_text(tmp_path):
    cell = table_cells.Cell(schedule("true", 5, seq_len=20))
    (tmp_path / f"{cell.name}.json").write_text(json.dumps(finished(cell, 5.0)))
    text = sequences(np.arange(929589, dtype=np.int32), 32, 20, "train")
    assert runs.read(tmp_path)[0][cell].updates_per_epoch == text.num == 1452
