"""Costs of layers in steps of a pipeline."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
import torch

from nmt.model.batch import Batch
from nmt.model.graph import LayerGraph
from nmt.parallel.measure import layers_of, measure_profile, size_of
from nmt.parallel.pipeline_profile import (
    LEAST,
    STEPS,
    WARM_UP,
    _carried,
    _without_messages,
    profile_in_pipeline,
)
from nmt.parallel.wavefront import WavefrontExecutor
from nmt.placement.cost import Profile, TaskCosts
from nmt.placement.plan import Plan, contiguous_stages
from nmt.placement.tasks import Task, TaskGraph, amount_of_work
from tests.parallel.random_plans import (
    adam,
    copied,
    distance,
    random_batch,
    random_graph,
    recipe_of,
    wavefront,
)


def with_draws(graph: LayerGraph, batch: Batch, seconds: dict[str, float]) -> Profile:
    found = measure_profile(recipe_of(graph, adam()), batch, [(1, 1)], "cpu", repeats=1)
    layers = {
        name: layer.model_copy(update={"draw_seconds": seconds[name]})
        for name, layer in found.layers.items()
    }
    return found.model_copy(update={"layers": layers})


def test_costs_come_to_the_time_of_the_steps() -> None:
    graph = random_graph(random.Random(1))
    batch, granularities = random_batch(1, rows=12), [(1, 1), (4, 2)]
    profile = with_draws(graph, batch, dict.fromkeys(graph.names, 0.0))
    made: list[WavefrontExecutor] = []
    placements: list[dict[str, int]] = []

    def make(plan: Plan) -> WavefrontExecutor:
        assert set(plan.placement.values()) == {0, 1}
        placements.append(plan.placement)
        made.append(wavefront(graph, plan, adam(), torch.float32))
        before.append(copied(made[-1].gather_parameters()))
        return made[-1]

    before: list[dict[str, torch.Tensor]] = []
    try:
        found = profile_in_pipeline(profile, granularities, batch, ["cpu", "cpu"], make)
        assert [(one.micro_batches, one.chunks) for one in found.measurements] == granularities
        assert found.layers == profile.layers
        assert found.message_overhead >= 0
        assert placements[0] == placements[2]
        carried = [sum(found.carried_bytes(placement).values()) for placement in placements]
        assert carried[1] > carried[0], "in one more, layers alternate between devices"
        for executor, parameters in zip(made, before, strict=True):
            assert distance(executor.gather_parameters(), parameters) == 0
        for executor, costs in zip([made[0], made[2]], found.measurements, strict=True):
            more = found.message_seconds(placements[0], costs.micro_batches, costs.chunks)
            seconds: dict[tuple[str, bool], float] = defaultdict(float)
            for event in executor.recorder.events:
                if event.kind in ("forward", "backward"):
                    task = Task.parse(event.name)
                    seconds[task.layer, task.backward] += event.end - event.start
            sizes = [size_of(one) for one in batch.split(costs.micro_batches)]
            assert costs.size in sizes
            factors = found.factors(costs.micro_batches, costs.chunks, sizes)
            tasks = TaskGraph(layers_of(graph), costs.micro_batches, costs.chunks)
            for name in graph.names:
                work = sum(one[name] for one in factors) * tasks.chunks_of(name) * STEPS
                for side, backward in ((costs.forward, False), (costs.backward, True)):
                    taken = seconds[name, backward] / work
                    assert side[name] == pytest.approx(max(LEAST, taken - more[name]))
    finally:
        made[-1].close()
    assert WARM_UP >= 1, "the first step gets its memory from the system"


def test_costs_without_the_messages_of_the_rehearsal() -> None:
    graph = random_graph(random.Random(1))
    batch = random_batch(1, rows=12)
    profile = with_draws(graph, batch, dict.fromkeys(graph.names, 0.0))
    profile = profile.model_copy(update={"message_overhead": 1e-9})
    placement = contiguous_stages(profile.layer_seconds(), 2)
    more = profile.message_seconds(placement, 4, 1)
    assert max(more.values()) > 0
    taken = {name: 1.0 + more[name] for name in graph.names}
    costs = TaskCosts(micro_batches=4, chunks=1, forward=taken, backward=taken)
    alone = _without_messages(profile, costs, placement)
    assert alone.forward == alone.backward == pytest.approx(dict.fromkeys(graph.names, 1.0))
    carried = _carried(profile, placement) * profile.message_overhead
    assert profile.step_seconds(costs) - profile.step_seconds(alone) == pytest.approx(carried)


def test_masks_are_not_a_part_of_the_work() -> None:
    graph = random_graph(random.Random(1))
    batch = random_batch(1, rows=12)
    first = graph.names[0]
    profile = with_draws(graph, batch, dict.fromkeys(graph.names, 0.0) | {first: 1e6})
    made: list[WavefrontExecutor] = []

    def make(plan: Plan) -> WavefrontExecutor:
        made.append(wavefront(graph, plan, adam(), torch.float32))
        return made[-1]

    try:
        found = profile_in_pipeline(profile, [(2, 1)], batch, ["cpu"], make)
    finally:
        made[-1].close()
    assert found.measurements[0].forward[first] == LEAST, "no task takes less than nothing"
    assert all(found.measurements[0].forward[name] > 0 for name in graph.names[1:])
    assert amount_of_work(found.infos, found.measurements[0].size)[first] > 0
