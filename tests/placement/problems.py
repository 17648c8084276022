"""Small problems that can be worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nmt.config import ClusterConfig, DeviceConfig, LearningConfig, LinkConfig
from nmt.placement.cluster import Cluster
from nmt.placement.cost import LayerCost, Profile, TaskCosts
from nmt.placement.problem import Objective, Problem
from nmt.placement.schedule import Rule
from nmt.placement.simulate import Simulator

LEARNING = LearningConfig(samples=8, learning_rate=0.01, entropy=0.05, hidden=16)


def chain(
    seconds: Sequence[float],
    parameters: Sequence[float] = (),
    output: float = 0.0,
    kept: float = 0.0,
) -> Profile:
    """Layers a, b, … one after the other; forward takes a third of the seconds."""
    names = [chr(ord("a") + i) for i in range(len(seconds))]
    return Profile(
        graph="chain",
        device="cpu",
        precision="fp32",
        batch="some",
        layers={
            name: LayerCost(
                kind="LSTM" if i % 2 else "Linear",
                inputs=[names[i - 1]] if i else [],
                axis="source",
                chunkable=True,
                output_bytes=output,
                kept_bytes=kept,
                parameter_bytes=parameters[i] if parameters else 0.0,
            )
            for i, name in enumerate(names)
        },
        measurements=[
            TaskCosts(
                micro_batches=1,
                chunks=1,
                forward={n: s / 3 for n, s in zip(names, seconds, strict=True)},
                backward={n: 2 * s / 3 for n, s in zip(names, seconds, strict=True)},
            )
        ],
    )


def cluster(
    speeds: Sequence[float],
    memory: Sequence[float | None] = (),
    bandwidth: float = 1e9,
    latency: float = 0.0,
) -> Cluster:
    """Devices of these speeds and gigabytes."""
    limits = memory or [None] * len(speeds)
    return Cluster(
        ClusterConfig(
            name="some devices",
            devices=[
                DeviceConfig(name=f"cuda:{i}", speed=speed, memory=limit)
                for i, (speed, limit) in enumerate(zip(speeds, limits, strict=True))
            ],
            link=LinkConfig(bandwidth=bandwidth, latency=latency),
            pairs=[],
        )
    )


def problem(
    profile: Profile,
    devices: Cluster,
    cuts: Sequence[tuple[int, int]] = ((1, 1),),
    objective: Objective = "step",
    rule: Rule = "wavefront",
) -> Problem:
    """Of that graph on those devices."""
    return Problem(Simulator(profile, devices), cuts, rule, objective)


def random_chain(seed: int, layers: int) -> Profile:
    """Layers of any cost."""
    rng = random.Random(seed)
    return chain([rng.uniform(0.1, 3.0) for _ in range(layers)])
