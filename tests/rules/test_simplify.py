"""Simpler rules are the same functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from nmt.rules import Expression, parse, parts, simplify
from nmt.rules.evaluate import updates
from tests.rules.conftest import RULES

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(0, 1, (4, 16))
WEIGHTS = RNG.normal(0, 1, 16)


@settings(max_examples=400, deadline=None)
@given(RULES)
def test_values_stay(rule: Expression) -> None:
    simpler = simplify(rule)
    assert len(list(parts(simpler))) <= len(list(parts(rule))) + 1  # `square` becomes a product
    assert simplify(simpler) == simpler
    before, after = (updates(one, GRADIENTS, WEIGHTS) for one in (rule, simpler))
    sound = np.isfinite(before)
    with np.errstate(all="ignore"):
        far = np.abs(after - before) > 1e-6 * np.maximum(1, np.abs(before))
    if np.abs(before[sound]).max(initial=0) < 1e6:  # beyond, roundings are magnified
        assert not (far & sound).any(), (str(rule), str(simpler))


@pytest.mark.parametrize(
    ("rule", "simpler"),
    [
        ("g * 1 + 0", "g"),
        ("0 * g + w", "w"),
        ("--g", "g"),
        ("g - -w", "w + g"),
        ("g + -w", "-w + g"),
        ("2 * (3 * g)", "6 * g"),
        ("g * 2 ** 3", "8 * g"),
        ("sign(sign(g))", "sign(g)"),
        ("sign(3 * g)", "sign(g)"),
        ("-g * -w", "w * g"),
        ("square(g)", "g * g"),
        ("sqrt(g * g)", "abs(g)"),
        ("abs(exp(g))", "exp(g)"),
        ("clip(sign(g), 2)", "sign(g)"),
        ("g ** 1 / 1", "g"),
        ("g - g", "0"),
        ("mean(2, 0.9) * g", "2 * g"),
        ("ema(g, 0)", "g"),
        ("1 / 0 * g", "1 / 0 * g"),
        ("log(0) + g", "log(0) + g"),
    ],
)
def test_forms(rule: str, simpler: str) -> None:
    assert str(simplify(parse(rule))) == simpler


def test_sums_and_products_have_one_order() -> None:
    assert simplify(parse("g * exp(w) + 1")) == simplify(parse("1 + exp(w) * g"))
