from __future__ import annotations

import pytest

from nmt.errors import PlanError
from nmt.placement.tasks import LayerInfo, Task, TaskGraph, check_orders

# Two source layers, of which the second cannot be cut; a target layer that reads the whole source.
LAYERS = {
    "below": LayerInfo((), "source", True),
    "reversed": LayerInfo(("below",), "source", False),
    "top": LayerInfo(("below", "reversed"), "source", True),
    "target": LayerInfo(("top",), "target", True),
}


def forward(layer: str, micro_batch: int = 0, chunk: int = 0) -> Task:
    return Task(layer, micro_batch, chunk)


def backward(layer: str, micro_batch: int = 0, chunk: int = 0) -> Task:
    return Task(layer, micro_batch, chunk, True)


def test_what_forward_tasks_need() -> None:
    graph = TaskGraph(LAYERS, 2, 2)
    assert graph.needs(forward("below")) == []
    assert graph.needs(forward("below", 1, 1)) == [forward("below", 1, 0)]
    assert graph.needs(forward("reversed")) == [forward("below", 0, 0), forward("below", 0, 1)]
    assert graph.needs(forward("top", 0, 1)) == [
        forward("top", 0, 0),
        forward("below", 0, 1),
        forward("reversed", 0, 0),
    ]
    assert graph.needs(forward("target")) == [forward("top", 0, 0), forward("top", 0, 1)]


def test_what_backward_tasks_need() -> None:
    graph = TaskGraph(LAYERS, 1, 2)
    assert graph.needs(backward("target", 0, 1)) == [forward("target", 0, 1)]
    assert graph.needs(backward("target", 0, 0)) == [
        forward("target", 0, 0),
        backward("target", 0, 1),
    ]
    assert graph.needs(backward("top", 0, 1)) == [
        forward("top", 0, 1),
        backward("target", 0, 0),
        backward("target", 0, 1),
    ]
    assert graph.needs(backward("reversed")) == [
        forward("reversed"),
        backward("top", 0, 0),
        backward("top", 0, 1),
    ]
    assert graph.needs(backward("below", 0, 1)) == [
        forward("below", 0, 1),
        backward("reversed", 0, 0),
        backward("top", 0, 1),
    ]


def test_all_tasks_are_there_once() -> None:
    graph = TaskGraph(LAYERS, 3, 4)
    assert len(graph.tasks) == len(set(graph.tasks)) == 3 * 2 * (4 + 1 + 4 + 4)
    assert all(not task.backward for task in TaskGraph(LAYERS, 3, 4, training=False).tasks)


def test_a_task_as_text() -> None:
    task = backward("encoder.1", 3, 2)
    assert str(task) == "backward encoder.1 3 2"
    assert Task.parse(str(task)) == task
    for text in ("", "sideways encoder.1 0 0", "forward encoder.1 0", "forward encoder.1 a 0"):
        with pytest.raises(PlanError, match=r"A task must be written like `forward encoder.1 0 0`"):
            Task.parse(text)


PLACEMENT = {"below": 0, "reversed": 0, "top": 1, "target": 1}
GRAPH = TaskGraph(LAYERS, 1, 1)
FIRST = [forward("below"), forward("reversed"), backward("reversed"), backward("below")]
SECOND = [forward("top"), forward("target"), backward("target"), backward("top")]


def test_an_order_that_works() -> None:
    check_orders(GRAPH, PLACEMENT, [FIRST, SECOND])


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (
            FIRST[::-1],
            SECOND,
            "would deadlock: device 0 waits at `backward below 0 0` for `forward below 0 0` of "
            "device 0, device 1 waits at `forward top 0 0` for `forward below 0 0` of device 0.",
        ),
        (FIRST[:-1], SECOND, "each task exactly once, but lacks `backward below 0 0`"),
        ([*FIRST, FIRST[0]], SECOND, "each task exactly once, but has `forward below 0 0` twice"),
        (
            [*FIRST, SECOND[0]],
            SECOND[1:],
            "`forward top 0 0` must be on device 1, where its layer is, but is on device 0",
        ),
        (
            [*FIRST, forward("below", 1)],
            SECOND,
            "1 micro-batches and 1 chunks, but device 0 has `forward below 1 0`",
        ),
    ],
)
def test_orders_that_do_not(first: list[Task], second: list[Task], sentence: str) -> None:
    with pytest.raises(PlanError) as raised:
        check_orders(GRAPH, PLACEMENT, [first, second])
    assert sentence in str(raised.value)
