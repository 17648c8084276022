"""Rules as text."""

from __future__ import annotations

import pytest
from hypothesis import given

from nmt.errors import RuleError
from nmt.rules import KNOWN, Call, Expression, Mean, Number, Variable, parse, simplify
from nmt.rules.expression import depends_on, means, parts
from tests.rules.conftest import RULES

G = Variable("g")


@given(RULES)
def test_what_is_printed_is_read_again(rule: Expression) -> None:
    """But that a minus before a number becomes part of it."""
    again = parse(str(rule))
    assert simplify(again) == simplify(rule)
    assert parse(str(again)) == again


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("g*exp(sign(g)*sign(m))", "g * exp(sign(g) * sign(mean(g, 0.9)))"),
        ("(g + 1) * 2", "(g + 1) * 2"),
        ("g - (g - 1)", "g - (g - 1)"),
        ("g - g - 1", "g - g - 1"),
        ("g / (g * g)", "g / (g * g)"),
        ("-g ** 2", "-g ** 2"),
        ("(-g) ** 2", "(-g) ** 2"),
        ("g ** -1", "g ** -1"),
        ("(-1) ** g", "(-1) ** g"),
        ("g - -1", "g - -1"),
        ("g ** g ** 2", "g ** g ** 2"),
        ("(g ** g) ** 2", "(g ** g) ** 2"),
        ("-(g + w)", "-(g + w)"),
        ("+g", "g"),
        ("linear * g", "(1 - done) * g"),
        ("  clip(g, .1)  ", "clip(g, 0.1)"),
        ("ema(mean(g, 0), 0.5)", "ema(mean(g, 0), 0.5)"),
    ],
)
def test_forms(text: str, printed: str) -> None:
    assert str(parse(text)) == printed


def test_means_have_the_optimizers_decays() -> None:
    assert parse("m", (0.5, 0.6)) == Mean(G, 0.5, corrected=True)
    assert parse("v", (0.5, 0.6)) == Mean(Call("*", (G, G)), 0.6, corrected=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be an expression"),
        ("g *", "must be an expression"),
        ("x * g", "`x` must be one of g, w, done, m, v, linear, cosine, or of the functions sign"),
        ("tanh(g)", "`tanh` must be one of"),
        ("sign(g, g)", "`sign` must have one argument, but has 2"),
        ("sign()", "`sign` must have one argument, but has 0"),
        ("ema(g)", "`ema` must have a value and a decay"),
        ("ema(g, 1)", "decay of `ema` must be a number from 0 to below 1, but is `1`"),
        ("mean(g, g)", "decay of `mean` must be a number from 0 to below 1, but is `g`"),
        ("clip(g)", "`clip` must have a value and a bound"),
        ("clip(g, -1)", "bound of `clip` must be a number above 0"),
        ("g if w else m", "`g if w else m` must be a number, a name"),
        ("g.real", "`g.real` must be a number"),
        ("g[0]", "`g[0]` must be a number"),
        ("__import__('os')", "`__import__` must be one of"),
        ("True", "`True` must be a number"),
        ("1j * g", "`1j` must be a number"),
        ("g // 2", "`g // 2` must be a number"),
        ("1e999 * g", "`1e999` must be a finite number"),
        ("g, g", "`g, g` must be a number"),
        ("sign(x=g)", "`sign(x=g)` must be a number"),
        ("g" + " + g" * 1000, "at most 2000 characters"),
        ("-" * 100 + "g", "at most 60 levels"),
        ("(" * 500 + "g" + ")" * 500, "must be an expression"),
        ("g\0", "must be an expression"),
    ],
)
def test_what_is_no_rule(text: str, words: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse(text)
    assert words in str(raised.value)


def test_parts_come_behind_what_they_are_made_of() -> None:
    rule = parse("m / (sqrt(v) + m)")
    found = [str(one) for one in parts(rule)]
    assert found[0] == "g"
    assert found[-1] == str(rule)
    assert len(set(found)) == len(found)
    assert found.index("mean(g * g, 0.999)") < found.index("sqrt(mean(g * g, 0.999))")


def test_a_mean_is_kept_once() -> None:
    rule = parse("ema(g, 0.9) + mean(g, 0.9) + m + ema(g, 0.99)")
    assert [str(one) for one in means(rule)] == ["ema(g, 0.9)", "ema(g, 0.99)"]


def test_what_a_rule_depends_on() -> None:
    assert depends_on(parse("ema(sign(m), 0.9)"), "g")
    assert not depends_on(parse("w * linear"), "g")


@pytest.mark.parametrize("name", KNOWN)
def test_known_rules_can_be_read(name: str) -> None:
    assert depends_on(parse(KNOWN[name]), "g")
    assert isinstance(parse(KNOWN[name]), Expression)
    assert Number(1.0) == parse("1")
