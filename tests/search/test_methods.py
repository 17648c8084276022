"""Every method against a function that is cheap to compute."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from nmt.search.controller import Controller
from nmt.search.decision import Decision
from nmt.search.methods import Method, make_method
from nmt.search.space import Point
from tests.search.conftest import method_config

DECISIONS = [
    Decision(f"d{number}", tuple("abcdef"), ordered=number % 2 == 0) for number in range(8)
]
TARGET = (0, 3, 5, 1, 2, 4, 0, 3)
METHODS = ("random", "evolution", "reinforce", "optuna")


def reward(point: Point) -> float:
    return sum(one == wanted for one, wanted in zip(point, TARGET, strict=True)) / len(TARGET)


def make(method: str, seed: int = 1) -> Method:
    return make_method(DECISIONS, method_config(method), seed)


def search(method: Method, count: int) -> list[float]:
    found = []
    for _ in range(count):
        point = method.ask()
        found.append(reward(point))
        method.tell(point, found[-1])
    return found


@pytest.mark.parametrize("method", METHODS)
def test_points_are_in_the_space_and_repeat_with_the_seed(method: str) -> None:
    runs = []
    for seed in (1, 1, 2):
        one = make(method, seed)
        points = []
        for _ in range(40):
            point = one.ask()
            assert len(point) == len(DECISIONS)
            assert all(0 <= c < len(d.options) for c, d in zip(point, DECISIONS, strict=True))
            points.append(point)
            one.tell(point, reward(point))
        runs.append(points)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("method", METHODS)
def test_several_may_be_asked_before_one_is_told(method: str) -> None:
    one = make(method)
    open_points: list[Point] = []
    rng = random.Random(0)
    for _ in range(60):
        open_points.append(one.ask())
        if len(open_points) > 3:
            point = open_points.pop(rng.randrange(len(open_points)))
            one.tell(point, reward(point))
    one.tell(TARGET, 1.0)  # what it has never proposed
    one.repeat(TARGET, 1.0)
    one.reject((0,) * 8, -10.0)
    assert len(one.ask()) == 8


@pytest.mark.parametrize("method", ["evolution", "reinforce", "optuna"])
def test_methods_learn(method: str) -> None:
    means = {}
    for name in ("random", method):
        means[name] = fmean(fmean(search(make(name, seed), 400)[-50:]) for seed in (1, 2))
    assert means["random"] == pytest.approx(1 / 6, abs=0.05)
    assert means[method] > 2 * means["random"]


def test_evolution_changes_a_few_choices_of_a_good_point() -> None:
    one = make("evolution")
    for _ in range(24):
        one.tell(TARGET, 1.0)
    children = [one.ask() for _ in range(50)]
    changes = [sum(a != b for a, b in zip(child, TARGET, strict=True)) for child in children]
    assert set(changes) == {1, 2}
    preferences = one.preferences()
    assert preferences is not None
    assert [place.index(max(place)) for place in preferences] == list(TARGET)
    assert all(sum(place) == pytest.approx(1) for place in preferences)


def test_the_oldest_dies() -> None:
    one = make("evolution")
    one.tell(TARGET, 1.0)
    for _ in range(24):
        one.tell((1,) * 8, 0.1)
    preferences = one.preferences()
    assert preferences is not None
    assert [place[1] for place in preferences] == [1.0] * 8


def test_the_controller_comes_to_prefer_what_is_rewarded() -> None:
    one = make("reinforce")
    search(one, 600)
    preferences = one.preferences()
    assert preferences is not None
    assert all(sum(place) == pytest.approx(1, abs=1e-5) for place in preferences)
    favourites = [place.index(max(place)) for place in preferences]
    assert sum(a == b for a, b in zip(favourites, TARGET, strict=True)) >= 6


def test_a_controller_that_repeats_itself_leaves_more_to_chance() -> None:
    one = make("reinforce")
    assert isinstance(one, Controller)
    for _ in range(200):
        one.tell(TARGET, 1.0 + len(METHODS))
        one.tell((5,) * 8, 0.0)
    usual = [one.ask() for _ in range(40)]
    for _ in range(60):
        one.repeat(TARGET, 1.0)
    bold = [one.ask() for _ in range(40)]
    assert len(set(bold)) > len(set(usual))
    one.tell(TARGET, 5.0)
    assert len({one.ask() for _ in range(40)}) < len(set(bold))


def test_an_evolution_that_repeats_itself_changes_more() -> None:
    one = make("evolution")
    for _ in range(30):
        one.tell(TARGET, 1.0)

    def changes() -> float:
        return fmean(sum(a != b for a, b in zip(one.ask(), TARGET, strict=True)) for _ in range(40))

    usual = changes()
    for _ in range(12):
        one.repeat((0,) * 8, 9.0)
    assert changes() > usual + 1
    preferences = one.preferences()
    assert preferences is not None
    assert all(place[right] == 1 for place, right in zip(preferences, TARGET, strict=True))
    one.tell(TARGET, 1.0)
    assert changes() == pytest.approx(usual, abs=0.5)


def test_a_controller_may_begin_with_what_is_known() -> None:
    one = make("reinforce")
    assert isinstance(one, Controller)
    one.begin_with([TARGET])
    preferences = one.preferences()
    assert preferences is not None
    for place, choice in zip(preferences, TARGET, strict=True):
        assert place[choice] == pytest.approx(0.5 + 0.5 / 6, abs=0.05)


def test_a_space_with_one_point() -> None:
    only = [Decision("d", ("a",))]
    for method in METHODS:
        one = make_method(only, method_config(method), 1)
        for _ in range(30):
            assert one.ask() == (0,)
            one.tell((0,), 1.0)
