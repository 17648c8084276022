"""The time and memory that each layer takes: the profile that plans are made from.

Every kind of task is measured alone, at the size that it has for each granularity, so that the
figures include the cost of small micro-batches and chunks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from math import prod
from statistics import median

import torch
from torch import Tensor

from nmt.model.batch import Batch
from nmt.model.dropout import Randomness
from nmt.model.graph import BATCH, Axis, LayerGraph, LayerStack
from nmt.parallel.device_work import DeviceWork, Step
from nmt.parallel.executor import TrainingRecipe
from nmt.placement.cost import STATE_FACTOR, LayerCost, Profile, TaskCosts
from nmt.placement.tasks import SENTENCES, LayerInfo, Layers, TaskGraph, amount_of_work
from nmt.precision.master_weights import MasterWeights

REPEATS = 3  # of every task, after a first one that warms up
UPDATES = 5  # of the optimizer, likewise
IN_FLIGHT = 3  # micro-batches at a time


def layers_of(graph: LayerGraph) -> Layers:
    """The parts of a graph that plans depend on."""
    return {
        node.name: LayerInfo(
            tuple(name for name in node.inputs if not name.startswith(BATCH)),
            node.axis.value,
            node.chunkable,
        )
        for node in graph.nodes
    }


def size_of(micro_batch: Batch) -> dict[str, int]:
    """The size of a micro-batch, for `nmt.placement.tasks.amount_of_work`."""
    return {
        SENTENCES: micro_batch.rows,
        Axis.SOURCE.value: micro_batch.source.numel(),
        Axis.TARGET.value: micro_batch.target_input.numel(),
    }


def measure_profile(
    recipe: TrainingRecipe,
    batch: Batch,
    granularities: Sequence[tuple[int, int]],
    device: str,
    repeats: int = REPEATS,
) -> Profile:
    """All layers on one device, for each (micro-batches, chunks); the loss is in the last layer."""
    graph, dtype, micro_batches = recipe.graph, recipe.dtype, granularities[0][0]
    stack = graph.build(graph.names, seed=0).to(device=torch.device(device), dtype=dtype)
    work = DeviceWork(recipe, stack, torch.device(device))
    updates = {name: _update_seconds(recipe, name, device) for name in graph.names}
    middle = batch.split(micro_batches)[micro_batches // 2]
    kept = _kept_bytes(graph, stack, work, middle)
    shape = f"{batch.rows} × {batch.source.shape[1]} + {batch.target_input.shape[1]}"
    steps = {"source": batch.source.shape[1], "target": batch.target_input.shape[1]}
    # bf16: rounded copies beside fp32 parameters, gradients and Adam's moments, 18 bytes in all.
    size = 4.5 if dtype == torch.bfloat16 else dtype.itemsize
    parameters = {
        name: size * sum(p.numel() for p in stack.layer(name).parameters()) for name in graph.names
    }
    measured = [_task_costs(graph, work, batch, M, C, device, repeats) for M, C in granularities]
    draws = _draw_seconds(graph, work, batch, measured[0], device, repeats)
    return Profile(
        graph=graph.name,
        device=device,
        precision=str(dtype).removeprefix("torch."),
        batch=f"{shape} (sentences × source + target steps)",
        layers={
            node.name: LayerCost(
                kind=type(stack.layer(node.name)).__name__,
                inputs=list(info.inputs),
                axis=info.axis,
                chunkable=info.chunkable,
                output_bytes=dtype.itemsize * prod(node.output_shape(batch.rows, steps[info.axis])),
                kept_bytes=kept[node.name] * batch.rows / (batch.rows // micro_batches),
                parameter_bytes=parameters[node.name],
                draw_seconds=draws[node.name],
                update_seconds=updates[node.name],
                shares=[
                    other
                    for other in graph.names
                    for name in node.shares.values()
                    if name.startswith(f"{other}.")
                ],
            )
            for node, info in zip(graph.nodes, layers_of(graph).values(), strict=True)
        },
        measurements=measured,
        state_factor=STATE_FACTOR + recipe.averaged,
    )


def _task_costs(
    graph: LayerGraph,
    work: DeviceWork,
    batch: Batch,
    micro_batches: int,
    chunks: int,
    device: str,
    repeats: int,
) -> TaskCosts:
    """Medians over the chunks and repetitions of micro-batches of usual length. Some are in flight
    at a time, as in a pipeline: what one has kept has left the caches before its backward pass."""
    layers, most = layers_of(graph), min(micro_batches, IN_FLIGHT)
    tasks = TaskGraph(layers, most, chunks)
    first = (micro_batches - most) // 2
    measured = batch.split(micro_batches)[first : first + most]
    usual = measured[most // 2]
    unit = amount_of_work(layers, size_of(usual))
    works = [amount_of_work(layers, size_of(micro_batch)) for micro_batch in measured]
    forward = [task for task in tasks.tasks if not task.backward]
    backward = [task for task in tasks.tasks if task.backward]
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    randomness = Randomness(1)  # draws masks once a step, for the whole batch: in the warm-up
    randomness.begin_step(0)
    for repetition in range(repeats + 1):
        work.begin(Step(tasks, measured, randomness, 1 / batch.tokens))
        for task in [*forward, *backward]:
            start = _now(device)
            work.run(task)
            if repetition:
                part = works[task.micro_batch][task.layer] / unit[task.layer]
                seconds[task.layer, task.backward].append((_now(device) - start) / part)
    return TaskCosts(
        micro_batches=micro_batches,
        chunks=chunks,
        forward={name: median(seconds[name, False]) for name in graph.names},
        backward={name: median(seconds[name, True]) for name in graph.names},
        size=size_of(usual),
    )


def _draw_seconds(
    graph: LayerGraph, work: DeviceWork, batch: Batch, costs: TaskCosts, device: str, repeats: int
) -> dict[str, float]:
    """How much longer the forward tasks take that draw dropout masks for the whole batch."""
    tasks = TaskGraph(layers_of(graph), 1, 1)
    middle = batch.split(costs.micro_batches)[costs.micro_batches // 2]
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    randomness = Randomness(1)
    for repetition in range(2 * repeats):
        draws = repetition % 2 == 0
        if draws:
            randomness.begin_step(repetition)
        work.begin(Step(tasks, [middle], randomness, 1 / batch.tokens))
        for task in tasks.tasks:
            start = _now(device)
            work.run(task)
            if not task.backward:
                seconds[task.layer, draws].append(_now(device) - start)
    return {
        name: max(0.0, median(seconds[name, True]) - median(seconds[name, False]))
        for name in graph.names
    }


def _update_seconds(recipe: TrainingRecipe, name: str, device: str) -> float:
    """The seconds that updating one layer takes: the norm of its gradients, clipping, the
    optimizer's step, and freeing the gradients; in bf16 also rounding the parameters."""
    stack = recipe.graph.build([name], 0, recipe.parameter_dtype).to(device)
    masters = MasterWeights(stack) if recipe.is_bf16 else None
    parameters = list(masters.parameters.values() if masters else stack.parameters())
    if not parameters:
        return 0.0
    optimizer, seconds = recipe.optimizer(parameters), []
    for repetition in range(UPDATES + 1):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        start = _now(device)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(parameters, 1.0, norm)
        optimizer.step()
        if masters:
            masters.publish()
        optimizer.zero_grad(set_to_none=True)
        if repetition:
            seconds.append(_now(device) - start)
    return median(seconds)


def _kept_bytes(
    graph: LayerGraph, stack: LayerStack, work: DeviceWork, micro_batch: Batch
) -> dict[str, float]:
    """The bytes that autograd saves in each layer's forward pass, without the parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in stack.parameters()}
    tasks = TaskGraph(layers_of(graph), 1, 1)
    randomness = Randomness(1)
    work.begin(Step(tasks, [micro_batch], randomness, 1.0))
    kept: dict[str, float] = {}
    for task in tasks.tasks:
        found: dict[int, int] = {}

        def pack(tensor: Tensor, found: dict[int, int] = found) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        if not task.backward:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                work.run(task)
            kept[task.layer] = float(sum(found.values()))
        else:
            work.run(task)
    return kept


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()
