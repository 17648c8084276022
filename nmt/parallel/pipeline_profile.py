"""The costs of layers in a running pipeline.

A layer that is measured alone is faster than in a pipeline, where tasks of different layers share
the caches, and messages are handled by the same cores. So some steps are run at each granularity,
with the layers in contiguous stages, and every task is timed. The cost of messages is how much
longer the same tasks take where layers alternate between devices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from nmt.model.batch import Batch
from nmt.parallel.measure import size_of
from nmt.parallel.trace import Event
from nmt.parallel.wavefront import WavefrontExecutor
from nmt.placement.cost import Profile, TaskCosts
from nmt.placement.plan import Plan, contiguous_stages
from nmt.placement.tasks import Task, amount_of_work

WARM_UP, STEPS = 1, 2
LEAST = 1e-6  # seconds of a task that seems to have been nothing but noise or messages


def profile_in_pipeline(
    profile: Profile,
    granularities: Sequence[tuple[int, int]],
    batch: Batch,
    devices: Sequence[str],
    make: Callable[[Plan], WavefrontExecutor],
) -> Profile:
    """The profile with the costs of each (micro-batches, chunks) in a pipeline, and with the
    overhead of messages.

    To be called by all of the pipeline's processes, one for each device, with the same profile,
    since it determines the order of tasks; the result of the main process counts. `make` builds the
    executor of a plan. The learning rate is 0, so that no weights change.
    """
    costs, count = profile.layer_seconds(), len(devices)
    contiguous = contiguous_stages(costs, count)
    alternating = {name: place % count for place, name in enumerate(profile.layers)}

    def measured(placement: Mapping[str, int], micro_batches: int, chunks: int) -> TaskCosts | None:
        plan = Plan(
            graph=profile.graph,
            devices=list(devices),
            placement=dict(placement),
            micro_batches=micro_batches,
            chunks=chunks,
            schedule="wavefront",
            costs=costs,
            forward_costs=profile.layer_forward_seconds(),
        )
        executor = make(plan)
        for step in range(WARM_UP + STEPS):
            executor.recorder.on = step >= WARM_UP
            executor.train_step(batch, step, learning_rate=0.0)
        events = executor.gather_events()
        if not executor.is_main:
            return None
        sizes = [size_of(micro_batch) for micro_batch in batch.split(micro_batches)]
        return _task_costs(profile, events, micro_batches, chunks, sizes)

    found, more_seconds, more_bytes = [], 0.0, 0.0
    for granularity in granularities:
        together = measured(contiguous, *granularity)
        # Chunks have the same messages, only in smaller parts.
        apart = measured(alternating, *granularity) if granularity[1] == 1 and count > 1 else None
        if together is not None:
            found.append(together)
        if together is not None and apart is not None:
            more_seconds += profile.step_seconds(apart) - profile.step_seconds(together)
            more_bytes += _carried(profile, alternating) - _carried(profile, contiguous)
    if not found:  # in another process than the main one
        return profile
    message_overhead = max(0.0, more_seconds / more_bytes) if more_bytes > 0 else 0.0
    profile = profile.model_copy(update={"message_overhead": message_overhead})
    found = [_without_messages(profile, one, contiguous) for one in found]
    return profile.model_copy(update={"measurements": found})


def _carried(profile: Profile, placement: Mapping[str, int]) -> float:
    """Bytes that all devices send and receive in a step, forward and backward."""
    return 2 * sum(profile.carried_bytes(placement).values())


def _without_messages(
    profile: Profile, costs: TaskCosts, placement: Mapping[str, int]
) -> TaskCosts:
    """The costs of tasks that neither send nor receive."""
    more = profile.message_seconds(placement, costs.micro_batches, costs.chunks)
    return costs.model_copy(
        update={
            "forward": {name: max(LEAST, costs.forward[name] - more[name]) for name in more},
            "backward": {name: max(LEAST, costs.backward[name] - more[name]) for name in more},
        }
    )


def _task_costs(
    profile: Profile,
    events: Sequence[Event],
    micro_batches: int,
    chunks: int,
    sizes: Sequence[Mapping[str, int]],
) -> TaskCosts:
    """Mean seconds of each layer's tasks in proportion to their work, so that the tasks of a step
    add up to its time."""
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
        if not (task.backward or task.micro_batch or task.chunk):  # which draws all masks
            seconds[key] -= profile.layers[task.layer].draw_seconds
        work[key] += works[task.micro_batch][task.layer] / unit[task.layer]
    return TaskCosts(
        micro_batches=micro_batches,
        chunks=chunks,
        forward={name: max(LEAST, seconds[name, False] / work[name, False]) for name in unit},
        backward={name: seconds[name, True] / work[name, True] for name in unit},
        size=dict(usual),
    )
