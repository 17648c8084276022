"""Cells as text: read, printed, compared and examined."""

from __future__ import annotations

import numpy as np
import pytest

from nmt.errors import RuleError
from nmt.rules.cell_check import bound_of, fingerprint, problem_of
from nmt.rules.cells import KNOWN_CELLS, evaluate, read_cell
from tests.cells import OWN


@pytest.mark.parametrize("text", [*KNOWN_CELLS.values(), *OWN.values()])
def test_what_is_printed_is_the_same_cell(text: str) -> None:
    cell = read_cell(text)
    printed = str(cell)
    assert read_cell(printed) == cell
    assert str(read_cell(printed)) == printed


def test_names_hold_from_their_statement_on() -> None:
    cell = read_cell("c = c + x0; h = c * 2 - h0; h = h + c")
    variables = {"x0": 3.0, "h0": 5.0, "h": 7.0, "c": 11.0}
    operations = {"+": np.add, "-": np.subtract, "*": np.multiply}
    found = evaluate(cell, variables, float, lambda name, given: operations[name](*given))
    assert found == (14 * 2 - 5 + 14, 14)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lstn", "must be `name = expression`"),
        ("c = x0", "must set h"),
        ("h = tanh(h0)", "must read its input"),
        ("h = x0 * c", "must set it"),
        ("h = x0 + y", "`y` must be x0 to x15"),
        ("h = x0 + x16", "`x16` must be x0 to x15"),
        ("h = x0 / h0", "`x0 / h0` must be a number, a name"),
        ("h = exp(x0)", "`exp(x0)` must be"),
        ("h = tanh(x0, h0)", "must be"),
        ("x0 = h0; h = x0", "`x0` is given"),
        ("tanh = x0; h = tanh", "`tanh` is given"),
        ("h = (x0", "cannot be read"),
        ("h = x0 * 1e9", "within ±100"),
        ("h = x0.real", "must be"),
        ("h = " + "tanh(" * 70 + "x0" + ")" * 70, "at most 60 levels"),
        ("h = x0" + " + x0" * 1000, "at most 2000 characters"),
        ("", "must be `name = expression`"),
        ("import os", "must be `name = expression`"),
    ],
)
def test_a_mistake_is_a_sentence(text: str, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        read_cell(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_same_function_has_the_same_fingerprint() -> None:
    lstm = KNOWN_CELLS["lstm"]
    renamed = (
        "f = sigmoid(h3 + x3); i = sigmoid(x1 + h1); o = sigmoid(x0 + h0); "
        "c = tanh(x2 + h2) * i + c * f; h = tanh(c) * o"
    )
    assert fingerprint(lstm) == fingerprint(renamed) != fingerprint(KNOWN_CELLS["gru"])
    assert fingerprint("h = relu(sigmoid(x0 + h0))") == fingerprint("h = sigmoid(x0 + h0)")
    assert fingerprint("h = tanh(x0 + h0)") == fingerprint("h = tanh(x3 + h1)")
    shared, own = "h = tanh(x0 + h0) * sigmoid(x1 + h0)", "h = tanh(x0 + h0) * sigmoid(x1 + h1)"
    assert fingerprint(shared) != fingerprint(own)


def test_what_should_not_be_trained() -> None:
    for text in KNOWN_CELLS.values():
        assert problem_of(text) is None
    assert "grows without bound" in str(problem_of("c = c * 2 + x0; h = c + h0"))
    assert "remembers nothing" in str(problem_of("h = tanh(x0)"))
    assert "must set h" in str(problem_of("c = x0"))


def test_bounds() -> None:
    assert bound_of(read_cell(KNOWN_CELLS["lstm"])) == 1
    assert bound_of(read_cell(KNOWN_CELLS["gru"])) == 1
    assert bound_of(read_cell("h = relu(x0 + h0)")) is None
    assert bound_of(read_cell("h = tanh(x0) + sigmoid(h0)")) is None
