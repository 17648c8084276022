from __future__ import annotations

import pytest

from nmt.errors import PlanError
from nmt.placement.expert import equal_layers, folded, split
from nmt.placement.plan import contiguous_stages
from nmt.placement.tasks import LayerInfo

LAYERS = {
    "embedding": LayerInfo((), "source", True),
    "encoder.0": LayerInfo(("embedding",), "source", True),
    "encoder.1": LayerInfo(("encoder.0",), "source", True),
    "decoder.0": LayerInfo((), "target", True),
    "attention": LayerInfo(("decoder.0", "encoder.1"), "target", True),
    "decoder.1": LayerInfo(("decoder.0", "attention"), "target", True),
}
COSTS = {
    "embedding": 0.0,
    "encoder.0": 3.0,
    "encoder.1": 3.0,
    "decoder.0": 3.0,
    "attention": 0.0,
    "decoder.1": 3.0,
}


def test_contiguous_runs() -> None:
    runs = contiguous_stages(COSTS, 2)
    assert list(runs.values()) == [0, 0, 0, 1, 1, 1]
    with pytest.raises(PlanError, match="must be at most 6, the number of layers, but is 7"):
        contiguous_stages(COSTS, 7)


def test_each_side_of_a_fold_is_balanced() -> None:
    placement = folded(LAYERS, COSTS, 2)
    for names in (("encoder.0", "encoder.1"), ("decoder.0", "decoder.1")):
        assert [placement[name] for name in names] == [0, 1]
    with pytest.raises(PlanError):
        folded(LAYERS, COSTS, 4)


def test_equal_layers_counts_the_heavy_ones_alone() -> None:
    costs = {"a": 5.0, "small": 0.001, "b": 1.0, "c": 1.0, "d": 1.0}
    assert list(equal_layers(costs, 2).values()) == [0, 0, 0, 1, 1]


def test_the_split_gives_each_side_its_devices() -> None:
    assert list(split(LAYERS, COSTS, 2).values()) == [0, 0, 0, 1, 1, 1]
    assert set(split(LAYERS, COSTS, 3).values()) == {0, 1, 2}
    with pytest.raises(
        PlanError,
        match="needs a graph with two time axes and at least two devices, but has 1 and 2",
    ):
        split({"a": LayerInfo((), "whole", False)}, {"a": 1.0}, 2)
