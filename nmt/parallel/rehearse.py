"""What the layers cost while a pipeline works, measured in steps of one.

A layer that is measured alone does better than at work: in a pipeline, tasks of different layers
follow one another through the same caches, and messages travel on the same cores. So each way to
cut a batch is rehearsed, with the layers in contiguous stages, and every task is timed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from nmt.model.batch import Batch
from nmt.parallel.measure import size_of
from nmt.parallel.trace import Event
from nmt.parallel.wavefront import WavefrontExecutor
from nmt.placement.cost import CutCost, Profile
from nmt.placement.plan import Plan, contiguous_runs
from nmt.placement.tasks import Task, amount_of_work

WARM_UP, STEPS = 1, 2


def rehearse(
    profile: Profile,
    cuts: Sequence[tuple[int, int]],
    batch: Batch,
    devices: Sequence[str],
    make: Callable[[Plan], WavefrontExecutor],
) -> Profile:
    """The profile with the seconds of each (micro-batches, chunks) as they are at work.

    To be called by all of the pipeline's processes, one for each device; what the main one returns
    counts. `make` builds the executor of a plan; no weights change, as nothing is learned.
    """
    costs = profile.whole()
    placement = contiguous_runs(costs, len(devices))
    found = []
    for micro_batches, chunks in cuts:
        plan = Plan(
            graph=profile.graph,
            devices=list(devices),
            placement=placement,
            micro_batches=micro_batches,
            chunks=chunks,
            schedule="wavefront",
            costs=costs,
            forward_costs=profile.whole_forward(),
        )
        executor = make(plan)
        for step in range(WARM_UP + STEPS):
            executor.recorder.on = step >= WARM_UP
            executor.train_step(batch, step, learning_rate=0.0)
        events = executor.gather_events()
        if executor.is_main:
            sizes = [size_of(piece) for piece in batch.cut(micro_batches)]
            found.append(_cut_cost(profile, events, micro_batches, chunks, sizes))
    return profile.model_copy(update={"cuts": found or profile.cuts})


def _cut_cost(
    profile: Profile,
    events: Sequence[Event],
    micro_batches: int,
    chunks: int,
    sizes: Sequence[Mapping[str, int]],
) -> CutCost:
    """Means, each layer's seconds by its work: a step is the sum of its tasks."""
    usual = sizes[len(sizes) // 2]
    works = [amount_of_work(profile.infos, size) for size in sizes]
    unit = amount_of_work(profile.infos, usual)
    seconds: dict[tuple[str, bool], float] = defaultdict(float)
    work: dict[tuple[str, bool], float] = defaultdict(float)
    for event in events:
        if event.kind not in ("forward", "backward"):
            continue
        task = Task.parse(event.name)
        key = task.layer, task.backward
        seconds[key] += event.end - event.start
        if not (task.backward or task.micro_batch or task.chunk):  # masks: not a part of its work
            seconds[key] -= profile.layers[task.layer].draw_seconds
        work[key] += works[task.micro_batch][task.layer] / unit[task.layer]
    return CutCost(
        micro_batches=micro_batches,
        chunks=chunks,
        forward={name: max(0.0, seconds[name, False] / work[name, False]) for name in unit},
        backward={name: seconds[name, True] / work[name, True] for name in unit},
        size=dict(usual),
    )
