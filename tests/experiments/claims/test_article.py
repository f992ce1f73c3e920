"""Verdicts on the article's claims follow the committed numbers when these are changed."""

import math
import shutil

import committed
import pytest
from committed import BENCHMARKS, RESULTS, ROOT

from experiments.claims import article, comparisons
from experiments.claims.comparisons import Comparison
from experiments.claims.sections import SOURCES, sections
from experiments.claims.verdicts import HOLDS, NOT, UNDECIDED, Estimate
from experiments.lm.styles import schedule
from experiments.record.errors import UserError

pytestmark = pytest.mark.standard


def slow(content):
    content["rows"][1]["ratio"] = [1.0, 1.1, 1.2]


def slow_step(content):
    content["training"]["true"]["over_full"] = [1.0, 1.1, 1.2]


def fast_gradients(content):
    for row in content["settings"]["table"]["variants"]:
        row["rounds"] = [[9.0, 1.0, 1.0]] * 7


def fast_but_one(content):
    for shape in content["shapes"][1:]:
        shape["true"]["ratio"] = [1.0, 1.0, 1.0]


def fast(content):
    fast_but_one(content)
    content["shapes"][0]["true"]["ratio"] = [1.0, 1.0, 1.0]


def large_states_vanish(content):
    for row in content["rows"]:
        row["factor"] = [3.0 if row["state_size"] == 100 else 5.0 for _ in row["factor"]]


def true_style_off(content):
    content["float64"]["article"]["windows"]["embedding/embedding"] = 1e-11


def a_schedule_off(content):
    content["float64"]["all"][0]["error"] = 1e-11


def counted(true, epochwise):
    def change(content):
        for row, count in zip(content["counted"], (true, epochwise), strict=True):
            row["reach"]["7"] = count

    return change


VANISHING = "gradients shrink by a factor of about 3 to 4 per step, state"
AT_START = "at initialisation"
AS_FAST = "an efficient true BPTT is about as fast as full BPTT"


@pytest.mark.parametrize(
    ("name", "change", "claim", "case", "before", "after"),
    [
        ("timing", slow, AS_FAST, "the article", HOLDS, NOT),
        ("training_step", slow_step, AS_FAST, "the table", HOLDS, NOT),
        ("step_time", fast_gradients, AS_FAST, "its loss and gradients", NOT, HOLDS),
        ("recurrence", fast_but_one, AS_FAST, "a recurrence alone", NOT, NOT),
        ("recurrence", fast, AS_FAST, "a recurrence alone", NOT, HOLDS),
        ("vanishing", large_states_vanish, f"{VANISHING} 4", AT_START, HOLDS, NOT),
        ("vanishing", large_states_vanish, f"{VANISHING} 100", AT_START, NOT, HOLDS),
        ("gradcheck", true_style_off, "where the horizon is the sequence", "float64", HOLDS, NOT),
        ("gradcheck", a_schedule_off, "where the horizon is the sequence", "", HOLDS, HOLDS),
        ("gradcheck", a_schedule_off, "at every horizon and stride", "float64", HOLDS, NOT),
        ("diagram", counted(42, 7), "42 errors", "of 49", NOT, HOLDS),
        ("diagram", counted(42, 6), "42 errors", "of 49", NOT, NOT),
    ],
)
def test_verdicts_follow_the_numbers(tmp_path, name, change, claim, case, before, after):
    original = committed.findings(tmp_path / "original")
    changed = committed.findings(tmp_path / "changed", **{name: change})
    found = [committed.verdict(verdicts, claim, case) for verdicts in (original, changed)]
    assert found == [before, after]


@pytest.mark.parametrize(
    ("difference", "worth", "equal"),
    [(-0.1, HOLDS, NOT), (0.01, HOLDS, HOLDS), (0.02, UNDECIDED, UNDECIDED), (0.1, NOT, NOT)],
)
def test_full_is_as_good_as_true_within_the_margin(difference, worth, equal):
    full, true = schedule("full", seq_len=40), schedule("true", 20, seq_len=40)
    estimate = Estimate(difference, 0.002, 10)
    claim, rates = comparisons.EQUAL_LENGTH, (0.001, 0.001)
    row = Comparison(claim, full, true, 0.001, rates, estimate, 2, None, 0.5)
    rows = [row, row._replace(learning_rate=None), row._replace(claim=comparisons.EQUAL_UPDATES)]
    assert [finding.verdict for finding in article.conclusion(rows)] == [worth, equal]
    assert not [*article.conclusion(rows[1:])]


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.0, "0e+00"), (7e-14, "7e-14"), (7.1e-14, "8e-14"), (9.1e-5, "1e-04"), (5e-16, "5e-16")],
)
def test_an_error_in_one_digit_is_not_below_it(error, text):
    assert article.rounded_up(error) == text


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        (
            "timing",
            lambda content: content["rows"][1].update(ratio=[-5.0, -1.0, 0.5]),
            "quartiles of ratios of times",
        ),
        ("timing", lambda content: content["rows"].pop(1), "rows of name true, by sweeps"),
        (
            "step_time",
            lambda content: content["settings"]["table"]["variants"].clear(),
            "variants of peer ours, variant true",
        ),
        (
            "gradcheck",
            lambda content: content["float32"]["all"].append({"error": 0.0}),
            "horizon",
        ),
        (
            "gradcheck",
            lambda content: content["float32"].update(all=content["float32"]["all"][:1] * 28),
            "some of its schedules",
        ),
        ("vanishing", lambda content: content.update(rows=[]), "rows"),
        (
            "dependency",
            lambda content: content["learnt"].clear(),
            "learnt of style true, horizon 8",
        ),
    ],
)
def test_incomplete_results_are_refused(tmp_path, name, change, what):
    with pytest.raises(UserError, match=rf"{name}\.json lacks {what}; run its command again\."):
        committed.findings(tmp_path, **{name: change})


@pytest.mark.parametrize("path", [path for source in SOURCES for path in source.paths])
def test_every_result_is_needed(tmp_path, path):
    folder, name = path.rsplit("/", 1)
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / folder, copy)
    (copy / name).unlink()
    places = (copy, BENCHMARKS) if folder == "results" else (RESULTS, copy)
    with pytest.raises(UserError, match=rf"{name} is missing; run its command\."):
        sections([], *places)


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is damaged"), ("{}", "lacks counted"), ("[]", "is damaged")]
)
def test_damaged_results_are_refused(tmp_path, content, said):
    shutil.copytree(RESULTS, tmp_path / "results")
    (tmp_path / "results" / "diagram.json").write_text(content)
    with pytest.raises(UserError, match=rf"diagram\.json {said}; run its command again\."):
        sections([], tmp_path / "results")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus": "another text"}, ": the text is another text, not the Penn Treebank"),
        ({"tolerances": {}}, "lacks some of its schedules"),
        (
            {"float64": {"all": [{"error": 0.0}], "article": {"windows": {"all": 0.0}}}},
            "lacks horizon",
        ),
        ({"float32": math.nan}, "is damaged"),
    ],
)
def test_results_that_say_nothing_are_refused(tmp_path, change, said):
    with pytest.raises(UserError, match=rf"gradcheck\.json ?{said}"):
        committed.findings(tmp_path, gradcheck=lambda content: content.update(change))
