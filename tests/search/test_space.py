"""Spaces: from points to settings and back."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nmt.config import RangeConfig, SearchConfig
from nmt.errors import ConfigurationError
from nmt.rules import KNOWN, read_rule
from nmt.rules.cells import KNOWN_CELLS, read_cell
from nmt.rules.check import examine
from nmt.search.space import Space, grid, quoted
from tests.cells import BOUNDED, PLAIN
from tests.search.conftest import SPACE, search_config


def space_of(config: SearchConfig) -> Space:
    return Space(config.space)


def random_point(space: Space, rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.randrange(len(one.options)) for one in space.decisions)


def test_a_point_has_settings_and_settings_a_point() -> None:
    space = space_of(search_config(space=SPACE))
    assert space.size == 4 * 2 * 9
    for point in [(0, 0, 0), (3, 1, 8), (2, 1, 4)]:
        assert space.point(space.values(point)) == point
    values = space.values((2, 1, 4))
    assert values == {
        "model.dropout": 0.2,
        "model.residual": "full",
        "optimizer.learning_rate": 0.01,
    }
    assert space.overrides(values) == [
        "model.dropout=0.2",
        "model.residual=full",
        "optimizer.learning_rate=0.01",
    ]
    assert space.point({**values, "optimizer.learning_rate": 0.0098}) == (2, 1, 4), "the nearest"
    with pytest.raises(ConfigurationError, match=r"`model.residual` must be one of gnmt, full"):
        space.point({**values, "model.residual": "none"})


def test_groups_come_before_single_settings() -> None:
    space = space_of(
        search_config(
            space={
                "model.dropout": {"kind": "choice", "values": [0.1]},
                "model": {"kind": "choice", "values": ["tiny", "small"]},
            }
        )
    )
    assert space.overrides(space.values((1, 0))) == ["model=small", "model.dropout=0.1"]


def test_an_empty_space_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match=r"`search.space` must have at least one setting"):
        space_of(search_config(space={}))


def test_grids() -> None:
    log = RangeConfig(kind="range", low=1e-4, high=1.0, steps=5, log=True)
    assert grid(log) == [1e-4, 1e-3, 1e-2, 0.1, 1.0]
    plain = RangeConfig(kind="range", low=0, high=1, steps=3)
    assert grid(plain) == [0.0, 0.5, 1.0]
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="above 0 and less than"):
            RangeConfig(kind="range", low=low, high=high, steps=3, log=True)
    with pytest.raises(ValueError, match="less than"):
        RangeConfig(kind="range", low=2.0, high=1.0, steps=3)


@pytest.mark.parametrize("value", ["a", "g * exp(-m)", "it's \\ here", True, None, 3, 0.1, [1, 2]])
def test_values_are_written_as_hydra_reads_them(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(f"x={quoted(value)}")
    assert parsed.value() == value


RULES = search_config("rules")
IN_SPACE = ["sgd", "momentum", "sign", "rmsprop", "adam", "lion", "powersign", "addsign"]


@pytest.mark.parametrize("name", IN_SPACE)
def test_known_rules_are_points(name: str) -> None:
    space = space_of(RULES)
    values = {"optimizer.rule": name, "optimizer.learning_rate": 0.01}
    found = space.values(space.point(values))
    assert examine(read_rule(found["optimizer.rule"])) == examine(read_rule(name))
    assert space.key(found) == space.key(values)
    assert space.problem(found) is None


def test_random_rules_are_found_again_or_are_unsafe() -> None:
    space, rng = space_of(RULES), random.Random(1)
    unsafe = 0
    for _ in range(300):
        values = space.values(random_point(space, rng))
        assert read_rule(str(values["optimizer.rule"]))  # it can be read
        unsafe += space.problem(values) is not None
    assert 150 < unsafe < 290


def test_rules_that_are_one_function_have_one_key() -> None:
    space = space_of(RULES)

    def key(rule: str) -> Any:
        return space.key({"optimizer.rule": rule, "optimizer.learning_rate": 0.01})

    assert key("g * g / g") != key("g * 2")
    assert key("sign(g) * abs(g) + 0 * m") == key("g")
    assert key("exp(sign(m) * sign(g)) * g") == key(KNOWN["powersign"])


def test_an_unknown_primitive() -> None:
    space = RULES.model_dump()["space"]
    space["optimizer.rule"]["functions"] = ["x", "sinh(x)"]
    with pytest.raises(ConfigurationError, match=r"a part cannot be read. `sinh` must be one of"):
        space_of(search_config("rules", space=space))


def test_a_rule_outside_the_space() -> None:
    space = space_of(RULES)
    with pytest.raises(ConfigurationError, match=r"`cos\(g\)` in a starting point cannot be"):
        space.point({"optimizer.rule": "cos(g)", "optimizer.learning_rate": 0.01})
    with pytest.raises(ConfigurationError, match="must be an update rule"):
        space.point({"optimizer.rule": "cos(", "optimizer.learning_rate": 0.01})


CELLS = search_config("cells")


@pytest.mark.parametrize("text", [*KNOWN_CELLS, *KNOWN_CELLS.values(), PLAIN, BOUNDED])
def test_known_cells_are_points(text: str) -> None:
    products = {"products": 4, "nodes": 7}
    space = space_of(search_config("cells", space={"model.cell": _cells(**products)}))
    found = space.values(space.point({"model.cell": text}))
    assert space.key(found) == space.key({"model.cell": text})
    assert space.problem(found) is None


def _cells(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = CELLS.model_dump()["space"]["model.cell"]
    return values | changes


def test_random_cells_are_found_again() -> None:
    space, rng = space_of(CELLS), random.Random(1)
    safe = 0
    for _ in range(300):
        values = space.values(random_point(space, rng))
        if space.problem(values) is None:
            safe += 1
            again = space.values(space.point(values))
            assert space.key(again) == space.key(values)
            assert str(read_cell(values["model.cell"])) == values["model.cell"]
    assert 100 < safe < 290


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("h = tanh(x0 + h0) * 0.5", "`0.5` is none of its parts"),
        ("h = tanh(x0 + h0) * tanh(x0)", "uses x0 in two ways"),
        ("h = sigmoid(x0)", "it needs `sigmoid`"),
        ("h = tanh(tanh(x0) * h - c); c = h", "it needs .* nodes"),
        ("h = tanh(", "must be a cell"),
    ],
)
def test_cells_outside_the_space(cell: str, message: str) -> None:
    small = _cells(products=2, nodes=1, activations=["identity", "tanh"])
    space = space_of(search_config("cells", space={"model.cell": small}))
    with pytest.raises(ConfigurationError, match=message):
        space.point({"model.cell": cell})
