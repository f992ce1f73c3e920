"""What the soak says of its samples; the job itself takes hours."""

import numpy as np
import pytest

from benchmarks import soak
from benchmarks.soak import Sample
from experiments.record import run_folder
from experiments.record.checkpoints import CHECKSUMS
from experiments.record.errors import UserError
from experiments.record.run_folder import CHECKPOINTS

WORDS = soak.BATCH * soak.STEPS  # of an update


def samples_of(life, began, resident_mb, rates, probes):
    """A life with a checkpoint after each minute, and another sample half a minute later."""
    updates = 1000 * life + 60 * np.cumsum([0, *rates]) // WORDS
    found = []
    for i, update in enumerate(updates):
        probe = probes[min(i, len(probes) - 1)]
        for late in (0, 30):
            at = began + 60 * i + late
            found.append(Sample(at, life, resident_mb + i, int(update), 60.0 * i, probe))
    return found


def test_rates_are_of_the_words_between_two_checkpoints_of_one_life():
    rates = [10 * WORDS, 20 * WORDS]
    found = soak.words_per_second(samples_of(0, 0.0, 500.0, rates, [0.5, 0.25]))
    assert found == [(rates[0], 0.5), (rates[1], 0.25)]


def test_a_slower_machine_is_no_slower_job():
    """The rate and the probe change alike."""
    first = samples_of(0, 0.0, 500.0, [10 * WORDS] * 2, [0.5] * 3)
    second = samples_of(1, 240.0, 600.0, [5 * WORDS] * 2, [1.0] * 3)
    found = soak.summary([*first, *second])
    assert found["kills"] == 1 and found["minutes"] == 6.5
    assert found["resident_mb"] == [502.0, 602.0]
    assert found["words_per_second"] == [10 * WORDS] * 2 + [5 * WORDS] * 2
    assert found["relative_rate_last_over_first"] == 1.0
    leak = samples_of(1, 240.0, 600.0, [5 * WORDS] * 2, [0.5] * 3)
    assert soak.summary([*first, *leak])["relative_rate_last_over_first"] == 0.5


def test_one_rate_has_nothing_to_be_compared_with():
    found = soak.summary(samples_of(0, 0.0, 500.0, [WORDS], [0.5]))
    assert found["relative_rate_last_over_first"] is None


def test_the_newest_checkpoint_has_the_largest_number(tmp_path):
    assert soak.newest(tmp_path) is None
    for number in (9, 10, 11):
        (tmp_path / CHECKPOINTS / str(number)).mkdir(parents=True)
        if number < 11:  # the last is not whole
            (tmp_path / CHECKPOINTS / str(number) / CHECKSUMS).touch()
    found = soak.newest(tmp_path)
    assert found is not None and found[0] == 10


def test_an_epoch_that_ends_is_too_short_a_text(tmp_path):
    soak.check_in_first_epoch(tmp_path)
    run_folder.write_metrics(tmp_path, [])
    soak.check_in_first_epoch(tmp_path)
    run_folder.write_metrics(tmp_path, [{"epoch": 1}])
    with pytest.raises(UserError, match="soak with more --million_words"):
        soak.check_in_first_epoch(tmp_path)


def test_words_are_as_many_as_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "VOCAB", 5)
    soak.write_words(tmp_path / "words.txt", 1)
    words = (tmp_path / "words.txt").read_text().split()
    assert len(words) == 10**6 and {*words} == {f"w{i}" for i in range(5)}
    assert words.count("w0") > words.count("w1") > words.count("w4")
