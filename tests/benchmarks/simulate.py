"""`python -m tests.benchmarks.simulate [key=value …]`: a deep model on many simulated devices.

Every kind of task is measured on this machine, at its size for each number of micro-batches and
chunks, so that the inefficiency of small tasks is part of the result. The simulation of a step on
`devices` devices then gives its duration and the devices' idle time: with 1F1B and contiguous
stages, and with the wavefront and contiguous, GNMT's folded, and annealed placements. A message
takes its size divided by `gigabytes_per_second`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from nmt.corpus.prepare import PreparedData
from nmt.model.batch import Batch
from nmt.model.build import build_graph
from nmt.parallel.measure import measure_profile
from nmt.placement.annealing import annealing
from nmt.placement.cluster import equal_devices
from nmt.placement.expert import folded
from nmt.placement.plan import contiguous_stages
from nmt.placement.problem import PlanSearch, Problem
from nmt.placement.schedule import Rule
from nmt.placement.simulate import Simulator
from nmt.run.executors import recipe_of
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
    evaluations: int = 300  # of annealing, for each granularity
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
    granularities = [(M, C) for M in options.micro_batches for C in options.chunks]
    recipe, batch = recipe_of(config, graph), _usual_batch(data)
    profile = measure_profile(recipe, batch, granularities, "cpu", repeats=2)
    profile.save(options.output / "simulation-profile.json")
    names = [f"cuda:{i}" for i in range(options.devices)]
    simulator = Simulator(profile, equal_devices(names, options.gigabytes_per_second))
    lines = [
        f"{graph.name}, {options.devices} devices, {options.sentences} sentences, simulated from "
        f"measured tasks",
        "",
        "| M | C | 1F1B, contiguous | wavefront, contiguous | wavefront, folded | annealed |",
        "|---|---|---|---|---|---|",
    ]
    for M, C in granularities:
        problem = Problem(simulator, [(M, C)])
        search = PlanSearch(problem, options.evaluations)
        annealing(search, seed=1)
        runs = contiguous_stages(profile.layer_seconds(), options.devices)
        fold = folded(profile.infos, profile.layer_seconds(), options.devices)
        cells = [
            _cell(simulator, runs, M, C, "1f1b") if C == 1 else "",
            _cell(simulator, runs, M, C, "wavefront"),
            _cell(simulator, fold, M, C, "wavefront"),
            _cell(simulator, problem.placement(search.result()), M, C, "wavefront"),
        ]
        lines.append(f"| {M} | {C} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "simulation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _usual_batch(data: PreparedData) -> Batch:
    """The batch with the median number of source tokens among the first 15."""
    batches = data.batches()
    first = [next(batches) for _ in range(15)]
    first.sort(key=lambda pairs: sum(map(len, pairs.source)))
    return Batch.from_rows(first[7].source, first[7].target)


def _cell(simulator: Simulator, placement: dict[str, int], M: int, C: int, rule: Rule) -> str:
    simulation = simulator.run(placement, M, C, rule)
    return f"{simulation.seconds:.2f} s, {simulation.idle:.0%} idle"


if __name__ == "__main__":
    main()
