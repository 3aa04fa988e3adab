"""RT-01: which worker gets a request."""

from __future__ import annotations

from random import Random

import pytest

from armature.errors import InvalidInput
from armature.serving.router.base import WorkerView
from armature.serving.router.modes import MODES, LeastLoaded, RandomChoice, RoundRobin, chooser_for, mode_note


def views(*ids, in_flight=0):
    return [WorkerView(id, in_flight) for id in ids]


def test_round_robin_takes_turns_and_survives_coming_and_going():
    chooser = RoundRobin()
    assert [chooser.choose(views("a", "b", "c")).instance_id for _ in range(4)] == ["a", "b", "c", "a"]
    assert chooser.choose(views("c", "d")).instance_id == "c"  # b is gone
    assert chooser.choose(views("a", "b")).instance_id == "a"


def test_random_reaches_everyone():
    chooser = RandomChoice(Random(1))
    assert {chooser.choose(views("a", "b", "c")).instance_id for _ in range(50)} == {"a", "b", "c"}


def test_least_loaded_prefers_the_idle_and_breaks_ties_at_random():
    chooser = LeastLoaded(Random(1))
    workers = [WorkerView("a", 3), WorkerView("b", 1), WorkerView("c", 1)]
    assert {chooser.choose(workers).instance_id for _ in range(50)} == {"b", "c"}


def test_modes_that_another_one_stands_in_for_say_so():
    assert isinstance(chooser_for("kv", Random()), RoundRobin)
    assert "round-robin" in mode_note("kv")
    assert isinstance(chooser_for("device-aware-weighted", Random()), LeastLoaded)
    assert [mode for mode in MODES if mode_note(mode) is None] == [
        "round-robin",
        "random",
        "least-loaded",
        "direct",
    ]


@pytest.mark.parametrize("mode", ["direct", "best"])
def test_other_modes_are_refused_with_what_to_use(mode):
    with pytest.raises(InvalidInput, match="round-robin"):
        chooser_for(mode, Random())
