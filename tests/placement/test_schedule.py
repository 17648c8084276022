from __future__ import annotations

import random

import pytest

from nmt.placement.schedule import Costs, Rule, Timeline, schedule
from nmt.placement.tasks import LayerInfo, Task, TaskGraph, check_orders

RULES: tuple[Rule, ...] = ("gpipe", "1f1b", "wavefront")
# A pipeline of two layers of one axis.
CHAIN = {"a": LayerInfo((), "x", True), "b": LayerInfo(("a",), "x", True)}
PLACEMENT = {"a": 0, "b": 1}


def uniform_costs(layers: list[str]) -> Costs:
    """Every layer the same; backward takes twice as long as forward."""
    return Costs(dict.fromkeys(layers, 1.0), dict.fromkeys(layers, 2.0))


def most_in_flight(timeline: Timeline) -> int:
    """The most forward results that a device must keep at one time for its backward tasks."""
    most = 0
    for order in timeline.orders:
        kept = 0
        for task in order:
            kept += -1 if task.backward else 1
            most = max(most, kept)
    return most


def names(timeline: Timeline) -> list[str]:
    return [
        " ".join(f"{'B' if task.backward else 'F'}{task.micro_batch}" for task in order)
        for order in timeline.orders
    ]


def test_gpipe_by_hand() -> None:
    graph = TaskGraph(CHAIN, 3, 1)
    found = schedule(graph, PLACEMENT, 2, uniform_costs(list(CHAIN)), "gpipe")
    assert names(found) == ["F0 F1 F2 B2 B1 B0", "F0 F1 F2 B2 B1 B0"]
    # Device 1 starts after 1 and works 9; then device 0 needs 2 for the last backward pass.
    assert found.seconds == 12
    assert found.idle == pytest.approx(1 - 18 / 24)
    assert most_in_flight(found) == 3


def test_1f1b_by_hand() -> None:
    graph = TaskGraph(CHAIN, 4, 1)
    found = schedule(graph, PLACEMENT, 2, uniform_costs(list(CHAIN)), "1f1b")
    assert names(found) == ["F0 F1 B0 F2 B1 F3 B2 B3", "F0 B0 F1 B1 F2 B2 F3 B3"]
    assert found.seconds == 1 + 4 * 3 + 2
    assert most_in_flight(found) == 2


def test_a_wave_in_time_fills_a_pipeline_sooner() -> None:
    whole = schedule(
        TaskGraph(CHAIN, 1, 1), PLACEMENT, 2, Costs({"a": 4, "b": 4}, {"a": 8, "b": 8}), "wavefront"
    )
    cut = schedule(TaskGraph(CHAIN, 1, 4), PLACEMENT, 2, uniform_costs(list(CHAIN)), "wavefront")
    assert whole.seconds == 4 + 4 + 8 + 8, "one after the other"
    assert cut.seconds == 1 + 4 + 8 + 2, "the second device starts after a quarter"


def test_messages_take_time() -> None:
    costs = Costs({"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 0.5})
    found = schedule(TaskGraph(CHAIN, 1, 1), PLACEMENT, 2, costs, "1f1b")
    assert found.start[Task("b", 0, 0)] == 1.5
    together = schedule(TaskGraph(CHAIN, 1, 1), {"a": 0, "b": 0}, 1, costs, "1f1b")
    assert together.start[Task("b", 0, 0)] == 1
    assert together.idle == 0


def test_a_bound_on_micro_batches_on_their_way() -> None:
    graph = TaskGraph(CHAIN, 8, 1)
    costs = Costs({"a": 1, "b": 10}, {"a": 1, "b": 10})  # b is the slow one
    for bound in (1, 2, 3):
        found = schedule(graph, PLACEMENT, 2, costs, "1f1b", in_flight=bound)
        assert most_in_flight(found) == bound
    assert most_in_flight(schedule(graph, PLACEMENT, 2, costs, "gpipe")) == 8


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_and_placement_gives_orders_that_work(seed: int) -> None:
    rng = random.Random(seed)
    layers: dict[str, LayerInfo] = {}
    for i in range(rng.randint(2, 9)):
        inputs = tuple(rng.sample(list(layers), min(i, rng.randint(0, 3))))
        layers[f"layer{i}"] = LayerInfo(inputs, rng.choice("xy"), rng.random() < 0.8)
    devices = rng.randint(1, 4)
    placement = {layer: rng.randrange(devices) for layer in layers}
    costs = Costs(
        {layer: rng.random() for layer in layers}, {layer: rng.random() for layer in layers}
    )
    for training in (True, False):
        graph = TaskGraph(layers, rng.randint(1, 5), rng.randint(1, 4), training)
        for rule in RULES:
            found = schedule(graph, placement, devices, costs, rule)
            check_orders(graph, placement, found.orders)
            for task in graph.tasks:
                assert all(found.end[need] <= found.start[task] for need in graph.needs(task))
            total = sum(costs.of(task) for task in graph.tasks)
            assert total / devices <= found.seconds + 1e-9 <= total + 2e-9
