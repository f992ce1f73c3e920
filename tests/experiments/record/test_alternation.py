"""Calls in alternation: each has its turn in every round, in a new order."""

import pytest

from experiments.record import alternation

pytestmark = pytest.mark.standard
NAMES, ROUNDS = "abc", 20


def orders(repeats):
    called = []
    calls = {name: lambda name=name: called.append(name) for name in NAMES}
    seconds = alternation.alternate(calls, ROUNDS, repeats)
    assert {name: len(each) for name, each in seconds.items()} == dict.fromkeys(NAMES, ROUNDS)
    size = len(NAMES) * repeats
    measured = called[len(NAMES) :]  # after the round to warm up
    return ["".join(measured[i : i + size]) for i in range(0, len(measured), size)]


def test_every_round_has_an_order_of_its_own():
    found = orders(1)
    assert {"".join(sorted(order)) for order in found} == {NAMES}
    assert len(set(found)) > 3 and found == orders(1)


def test_repeats_follow_each_other():
    assert [order[::3] for order in orders(3)] == orders(1)
    assert {order[i : i + 3] for order in orders(3) for i in (0, 3, 6)} == {n * 3 for n in NAMES}
