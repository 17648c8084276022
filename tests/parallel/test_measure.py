from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from nmt.parallel.measure import layers_of, measure_profile, size_of
from nmt.placement.cluster import equal_devices
from nmt.placement.simulate import Simulator
from nmt.placement.tasks import TaskGraph, amount_of_work
from tests.parallel.random_plans import adam, random_batch, random_graph, recipe_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_profile_has_all_that_a_step_consists_of(dtype: torch.dtype) -> None:
    graph = random_graph(random.Random(1))
    batch, granularities = random_batch(1, rows=12), [(1, 1), (4, 2)]
    profile = measure_profile(
        recipe_of(graph, adam(), dtype), batch, granularities, "cpu", repeats=1
    )
    assert list(profile.layers) == list(graph.names)
    assert [(one.micro_batches, one.chunks) for one in profile.measurements] == granularities
    for costs in profile.measurements:
        assert all(costs.forward[name] > 0 and costs.backward[name] > 0 for name in graph.names)
    assert profile.measurements[0].size == size_of(batch)
    assert profile.measurements[1].size == size_of(batch.split(4)[1])
    layers = profile.layers.values()
    with_parameters = [layer for layer in layers if layer.parameter_bytes]
    assert all(layer.update_seconds > 0 for layer in with_parameters)
    assert all(layer.draw_seconds >= 0 for layer in layers)
    assert all(layer.kept_bytes > 0 for layer in layers)


@pytest.mark.parametrize("averaged", [False, True])
def test_a_running_average_takes_as_much_memory_as_the_parameters(averaged: bool) -> None:
    recipe = replace(recipe_of(random_graph(random.Random(1)), adam()), averaged=averaged)
    profile = measure_profile(recipe, random_batch(1, rows=4), [(1, 1)], "cpu", repeats=1)
    assert profile.state_factor == (5 if averaged else 4)
    simulator = Simulator(profile, equal_devices(["cpu"]))
    tasks, placement = TaskGraph(profile.infos, 1, 1), dict.fromkeys(profile.layers, 0)
    (memory,) = simulator.memory([tasks.tasks], tasks, placement)
    kept = sum(layer.kept_bytes for layer in profile.layers.values())
    parameters = simulator.parameter_bytes(0, placement)
    assert memory == pytest.approx(profile.state_factor * parameters + kept)


def test_work_grows_with_what_a_layer_reads() -> None:
    graph = random_graph(random.Random(1))
    layers = layers_of(graph)
    size = {"sentences": 2, "source": 10, "target": 6}
    longer = {"sentences": 2, "source": 20, "target": 6}
    before, after = amount_of_work(layers, size), amount_of_work(layers, longer)
    for name, info in layers.items():
        across = {layers[source].axis for source in info.inputs} - {info.axis}
        grows = info.axis == "source" or "source" in across
        assert after[name] / before[name] == (2 if grows else 1), name
