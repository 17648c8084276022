from __future__ import annotations

import pytest

from nmt.errors import PlanError
from nmt.placement.expert import fastest, folded
from nmt.placement.plan import contiguous_runs
from nmt.placement.tasks import LayerInfo, TaskGraph, check_orders

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
    runs = contiguous_runs(COSTS, 2)
    assert list(runs.values()) == [0, 0, 0, 1, 1, 1]
    with pytest.raises(PlanError, match="must be at most 6, the number of layers, but is 7"):
        contiguous_runs(COSTS, 7)


def test_each_side_of_a_fold_is_balanced() -> None:
    placement = folded(LAYERS, COSTS, 2)
    for names in (("encoder.0", "encoder.1"), ("decoder.0", "decoder.1")):
        assert [placement[name] for name in names] == [0, 1]
    with pytest.raises(PlanError):
        folded(LAYERS, COSTS, 4)


@pytest.mark.parametrize(("micro_batches", "chunks", "wanted"), [(1, 8, "folded"), (8, 1, "runs")])
def test_the_fastest_depends_on_the_cut(micro_batches: int, chunks: int, wanted: str) -> None:
    """One micro-batch cut along time: two runs work one after the other, encoder and decoder, a
    fold works in two waves. Many micro-batches: the fold has to hand over twice as often."""
    plan = fastest("g", LAYERS, COSTS, {}, ["cpu", "cpu"], micro_batches, chunks, "wavefront")
    runs, fold = contiguous_runs(COSTS, 2), folded(LAYERS, COSTS, 2)
    assert plan.placement == (fold if wanted == "folded" else runs)
    check_orders(TaskGraph(LAYERS, micro_batches, chunks), plan.placement, plan.orders(LAYERS))
    assert plan.tasks, "the order is written down"


def test_more_devices_than_a_side_has_layers() -> None:
    plan = fastest("g", LAYERS, COSTS, {}, ["cpu"] * 5, 4, 1, "1f1b")
    assert plan.placement == contiguous_runs(COSTS, 5)
