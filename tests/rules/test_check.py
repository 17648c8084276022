"""What is recognised before training."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmt.rules import KNOWN, parse
from nmt.rules.check import examine
from nmt.rules.evaluate import updates


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_is_known_against_what_people_use(name: str) -> None:
    assert examine(parse(KNOWN[name])).problem() is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("w", "does not depend on the gradient"),
        ("1", "does not depend on the gradient"),
        ("m / sqrt(v)", "not finite in fp32"),  # words that no batch has had
        ("log(g)", "not finite in fp32"),
        ("g ** 0.5", "not finite in fp32"),
        ("exp(exp(abs(g)))", "not finite in fp32"),
        ("exp(abs(g) / 10) * g", "not finite"),
        ("1e9 * g", "larger than 1e+06"),
        ("g / (v + 1e-12)", "grow as gradients fall"),
        ("g / (abs(g) ** 1.5 + 1e-9)", "grow as gradients fall"),
        ("-g", "does not go down"),
        ("abs(g)", "does not go down"),
        ("sign(w) * (1 + 0 * g)", "does not"),
    ],
)
def test_problems(rule: str, problem: str) -> None:
    assert problem in (examine(parse(rule)).problem() or "")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("g * g * g", "g ** 3"),
        ("g * (1 + sign(g) * sign(m))", "g + abs(g) * sign(m)"),
        ("m / (sqrt(v) + 1e-8)", "mean(g, 0.9) * (1 / (1e-8 + sqrt(mean(square(g), 0.999))))"),
        ("ema(2 * g, 0.9)", "2 * ema(g, 0.9)"),
        ("exp(log(g)) * sign(g)", "g"),
        ("linear * g", "g - done * g"),
    ],
)
def test_the_same_function(one: str, other: str) -> None:
    assert examine(parse(one)).fingerprint == examine(parse(other)).fingerprint


def test_the_same_but_for_a_factor() -> None:
    one, other, third = (examine(parse(text)) for text in ("m", "3 * m", "ema(g, 0.9)"))
    assert one.direction == other.direction
    assert one.fingerprint != other.fingerprint
    assert third.direction != one.direction, "the bias at the start is not a factor"


def test_different_functions_differ() -> None:
    rules = [*KNOWN.values(), "w + g", "g * linear", "g * cosine", "clip(g, 0.1)"]
    found = {examine(parse(rule)).direction for rule in rules}
    assert len(found) == len(rules)


def test_running_means() -> None:
    gradients = np.array([[1.0], [3.0], [0.0]])
    plain = updates(parse("ema(g, 0.5)"), gradients, np.zeros(1))[:, 0]
    assert plain.tolist() == [0.5, 1.75, 0.875]
    corrected = updates(parse("mean(g, 0.5)"), gradients, np.zeros(1))[:, 0]
    assert corrected == pytest.approx([1.0, 1.75 / 0.75, 0.875 / 0.875])


def test_decays() -> None:
    gradients = np.ones((3, 1))
    linear, cosine = (
        updates(parse(f"{name} * g"), gradients, np.zeros(1))[:, 0] for name in ("linear", "cosine")
    )
    assert linear.tolist() == [1.0, 0.5, 0.0]
    assert cosine == pytest.approx([1.0, 0.5, (1 + math.cos(math.pi)) / 2])
    late = updates(parse("done * g"), gradients, np.zeros(1), done=np.array([0.1, 0.2, 0.3]))
    assert late[:, 0] == pytest.approx([0.1, 0.2, 0.3])


def test_lion_is_lion() -> None:
    """Against its own form, with the mean before each step."""
    rng = np.random.default_rng(4)
    gradients, momentum = rng.normal(0, 1, (20, 50)), np.zeros(50)
    found = updates(parse(KNOWN["lion"]), gradients, np.zeros(50))
    for step, gradient in enumerate(gradients):
        expected = np.sign(0.9 * momentum + 0.1 * gradient)
        assert (found[step] == expected).all()
        momentum = 0.99 * momentum + 0.01 * gradient
