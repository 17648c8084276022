"""`python -m tests.benchmarks.simulate [key=value …]`: a deep model on many devices, simulated.

Every kind of task is measured alone on this machine, at the size that it has for so many
micro-batches and chunks, so that the price of small pieces is in the result. A simulation of as
many devices as asked for then tells how long a step takes, and how much of it devices are idle:
1F1B with contiguous stages against the wavefront with GNMT's folded placement and with contiguous
stages. Messages take their size by `gigabytes_per_second`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from nmt.corpus.prepare import PreparedData
from nmt.model.batch import Batch
from nmt.model.build import build_graph
from nmt.model.dropout import Randomness
from nmt.model.graph import LayerGraph
from nmt.parallel.device_work import DeviceWork, Step
from nmt.parallel.trace import Recorder
from nmt.parallel.wavefront import layers_of
from nmt.placement.expert import folded
from nmt.placement.plan import contiguous_runs, single_device
from nmt.placement.schedule import Costs, Rule, schedule
from nmt.placement.tasks import TaskGraph
from nmt.training.loss import SmoothedCrossEntropy
from tests.benchmarks.options import read_options
from tests.benchmarks.ours import batches_of, prepared, training_config


@dataclass(frozen=True)
class Options:
    """Settings of the simulation."""

    model: str = "gnmt8"
    devices: int = 8
    sentences: int = 64  # of the whole batch
    micro_batches: tuple[int, ...] = (1, 2, 4, 8)
    chunks: tuple[int, ...] = (1, 2, 4, 8)
    gigabytes_per_second: float = 10.0
    threads: int = 2
    output: Path = Path("runs/bench")


def main() -> None:
    """Print the table, and write it to simulation.md."""
    options = read_options(Options, sys.argv[1:])
    config = training_config(
        [
            f"model={options.model}",
            f"parallel.threads={options.threads}",
            *batches_of(options.sentences),
        ],
        options.output / "scratch",
    )
    data = prepared(config)
    graph = build_graph(config.model, len(data.vocabulary))
    work = DeviceWork(
        graph,
        graph.build(graph.names, config.seed),
        SmoothedCrossEntropy(0.1),
        torch.device("cpu"),
        torch.float32,
    )
    batch = _usual_batch(data)
    lines = [
        f"{graph.name}, {options.devices} devices, {options.sentences} sentences, simulated from "
        f"measured tasks",
        "",
        "| M | C | 1F1B, contiguous | wavefront, contiguous | wavefront, folded |",
        "|---|---|---|---|---|",
    ]
    whole: dict[str, float] = {}
    for M in options.micro_batches:
        flat = ""
        for C in options.chunks:
            costs = _measure(graph, work, batch, M, C, options)
            whole = whole or {n: costs.forward[n] + costs.backward[n] for n in graph.names}
            if C == 1:
                flat = _simulated(graph, costs, M, C, options, "contiguous", "1f1b", whole)
            cells = [
                _simulated(graph, costs, M, C, options, placement, "wavefront", whole)
                for placement in ("contiguous", "folded")
            ]
            lines.append(f"| {M} | {C} | {flat if C == 1 else ''} | {cells[0]} | {cells[1]} |")
            print(lines[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "simulation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _usual_batch(data: PreparedData) -> Batch:
    """The batch of median length among the first."""
    batches = data.batches()
    some = [next(batches) for _ in range(15)]
    some.sort(key=lambda pairs: sum(map(len, pairs.source)))
    return Batch.from_rows(some[7].source, some[7].target)


def _measure(
    graph: LayerGraph, work: DeviceWork, batch: Batch, M: int, C: int, options: Options
) -> Costs:
    """Seconds of each layer's tasks: the median over chunks and two steps of one micro-batch."""
    tasks = TaskGraph(layers_of(graph), 1, C)
    plan = single_device(graph.name, graph.names, "cpu").model_copy(update={"chunks": C})
    (order,) = plan.orders(tasks.layers)
    recorder = Recorder()
    piece = batch.cut(M)[M // 2]
    for repetition in range(3):
        recorder.on = repetition > 0
        randomness = Randomness(1)
        randomness.begin_step(repetition)
        work.begin(Step(tasks, [piece], randomness, 1 / batch.tokens))
        for task in order:
            kind = "backward" if task.backward else "forward"
            with recorder(0, kind, task.layer):  # type: ignore[arg-type]
                work.run(task)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in recorder.events:
        seconds[event.kind, event.name].append(event.end - event.start)
    steps = {"source": piece.source.shape[1], "target": piece.target_input.shape[1]}
    speed = options.gigabytes_per_second * 1e9
    return Costs(
        {name: median(seconds["forward", name]) for name in graph.names},
        {name: median(seconds["backward", name]) for name in graph.names},
        {
            node.name: 4
            * piece.rows
            * steps[node.axis.value]
            / (C if node.cut else 1)
            * node.width
            / speed
            for node in graph.nodes
        },
    )


def _simulated(
    graph: LayerGraph,
    costs: Costs,
    M: int,
    C: int,
    options: Options,
    placement: str,
    rule: Rule,
    whole: dict[str, float],
) -> str:
    layers = layers_of(graph)
    where = (
        contiguous_runs(whole, options.devices)
        if placement == "contiguous"
        else folded(layers, whole, options.devices)
    )
    found = schedule(TaskGraph(layers, M, C), where, options.devices, costs, rule)
    return f"{found.seconds:.2f} s, {found.idle:.0%} idle"


if __name__ == "__main__":
    main()
