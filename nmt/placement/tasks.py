"""What a training step consists of: forward and backward of every layer on every micro-batch and
chunk of time, and what each of these tasks has to wait for. Names and numbers only.

A layer is split into chunks along the time axis of its output, unless it cannot be (one that
reads its input from the end). A chunkable layer reads the steps of its own chunk from layers of the
same axis; what lies on another axis it reads whole (attention reads the whole source), and the
gradients of its chunks are summed before they go back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from nmt.errors import PlanError


class LayerInfo(NamedTuple):
    """What tasks depend on: a layer's inputs among the layers, and whether it is chunkable."""

    inputs: tuple[str, ...]
    axis: str  # the time axis of its output
    chunkable: bool  # whether it can run chunk by chunk along it


Layers = Mapping[str, LayerInfo]  # in an order in which they can be computed


SENTENCES = "sentences"  # among the sizes of a micro-batch, beside the positions of each axis


def amount_of_work(layers: Layers, size: Mapping[str, int]) -> dict[str, float]:
    """How much each layer has to do for a micro-batch, in units of its own. `size` has its number
    of sentences, and for each time axis its positions: sentences × steps, padding too. Who reads
    another axis (attention) looks at each of its steps from each of the own."""
    found = {}
    for name, info in layers.items():
        found[name] = float(size[info.axis])
        for axis in {layers[source].axis for source in info.inputs} - {info.axis}:
            found[name] *= size[axis] / size[SENTENCES]
    return found


class ChunkKey(NamedTuple):
    """One chunk of a layer's work on a micro-batch."""

    layer: str
    micro_batch: int
    chunk: int

    @property
    def previous(self) -> ChunkKey:
        """The chunk of time before this one."""
        return ChunkKey(self.layer, self.micro_batch, self.chunk - 1)


class Task(NamedTuple):
    """One layer's forward or backward pass over one chunk of one micro-batch."""

    layer: str
    micro_batch: int
    chunk: int
    backward: bool = False

    @property
    def key(self) -> ChunkKey:
        """The chunk that it works on."""
        return ChunkKey(layer=self.layer, micro_batch=self.micro_batch, chunk=self.chunk)

    def __str__(self) -> str:
        direction = "backward" if self.backward else "forward"
        return f"{direction} {self.layer} {self.micro_batch} {self.chunk}"

    @classmethod
    def parse(cls, text: str) -> Task:
        """The inverse of `str`.

        Raises:
            PlanError: it is not a task.
        """
        try:
            direction, layer, micro_batch, chunk = text.split(" ")
            backward = {"forward": False, "backward": True}[direction]
            return cls(layer, int(micro_batch), int(chunk), backward)
        except (ValueError, KeyError):
            raise PlanError(
                "A task must be such as `forward encoder.1 0 0` (layer, micro-batch, chunk), "
                f"but is {text!r} instead."
            ) from None


@dataclass(frozen=True)
class TaskGraph:
    """All tasks of a step, or of its forward half, and what each of them needs."""

    layers: Layers
    micro_batches: int
    chunks: int
    training: bool = True  # with backward tasks

    def chunks_of(self, layer: str) -> int:
        """Into how many chunks the layer is split."""
        return self.chunks if self.layers[layer].chunkable else 1

    def whole(self, reader: str, layer: str) -> bool:
        """Whether `reader` reads all time steps of its input `layer` at once."""
        return (
            not self.layers[reader].chunkable or self.layers[reader].axis != self.layers[layer].axis
        )

    def chunks_read(self, reader: str, chunk: int, layer: str) -> Sequence[int]:
        """Which chunks of `layer` the chunk `chunk` of `reader` reads."""
        if self.whole(reader, layer) or not self.layers[layer].chunkable:
            return range(self.chunks_of(layer))
        return (chunk,)

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """The layers that read each layer."""
        found: dict[str, list[str]] = {layer: [] for layer in self.layers}
        for reader, info in self.layers.items():
            for layer in dict.fromkeys(info.inputs):
                found[layer].append(reader)
        return {layer: tuple(readers) for layer, readers in found.items()}

    def chunks_reading(self, layer: str, chunk: int, reader: str) -> Sequence[int]:
        """Which chunks of `reader` read the chunk `chunk` of `layer`."""
        if self.whole(reader, layer) or not self.layers[layer].chunkable:
            return range(self.chunks_of(reader))
        return (chunk,)

    def needs(self, task: Task) -> list[Task]:
        """The tasks that must be done before `task`, all of its own micro-batch. The chunks of a
        layer go forward in order, since a state is handed on, and backward in the other order."""
        layer, m, chunk, backward = task
        if not backward:
            return [
                *([Task(layer, m, chunk - 1)] if chunk else []),
                *(
                    Task(source, m, c)
                    for source in dict.fromkeys(self.layers[layer].inputs)
                    for c in self.chunks_read(layer, chunk, source)
                ),
            ]
        later = [Task(layer, m, chunk + 1, True)] if chunk + 1 < self.chunks_of(layer) else []
        return [
            Task(layer, m, chunk),
            *later,
            *(
                Task(reader, m, c, True)
                for reader in self.readers[layer]
                for c in self.chunks_reading(layer, chunk, reader)
            ),
        ]

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, in an order in which one device could do them: a micro-batch after the one
        before, and backward the other way round."""
        found: list[Task] = []
        for m in range(self.micro_batches):
            forward = [Task(n, m, c) for n in self.layers for c in range(self.chunks_of(n))]
            found += forward
            if self.training:
                found += [task._replace(backward=True) for task in reversed(forward)]
        return tuple(found)

    @cached_property
    def waiting(self) -> Mapping[Task, tuple[Task, ...]]:
        """The tasks that need each task."""
        found: dict[Task, list[Task]] = {task: [] for task in self.tasks}
        for task in self.tasks:
            for need in self.needs(task):
                found[need].append(task)
        return {task: tuple(after) for task, after in found.items()}

    @cached_property
    def needed(self) -> Mapping[Task, int]:
        """How many tasks each task needs."""
        return {task: len(self.needs(task)) for task in self.tasks}


def check_orders(
    graph: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
) -> None:
    """Check that devices that each work through their own order will come to an end.

    Raises:
        PlanError: a task is missing, there twice or on a device that does not have its layer; or
            the devices would wait for one another for ever, with the tasks that they wait at.
    """
    _check_complete(graph, placement, orders)
    device_of = {task: device for device, order in enumerate(orders) for task in order}
    done: set[Task] = set()
    position = [0] * len(orders)
    moved = True
    while moved:
        moved = False
        for device, order in enumerate(orders):
            while position[device] < len(order) and done.issuperset(
                graph.needs(order[position[device]])
            ):
                done.add(order[position[device]])
                position[device] += 1
                moved = True
    stuck = [
        (device, order[at])
        for device, (order, at) in enumerate(zip(orders, position, strict=True))
        if at < len(order)
    ]
    if not stuck:
        return
    waits = []
    for device, task in stuck:
        missing = next(need for need in graph.needs(task) if need not in done)
        waits.append(
            f"device {device} waits at `{task}` for `{missing}` of device {device_of[missing]}"
        )
    raise PlanError(
        "A plan's devices must be able to work through their tasks in order, but here "
        f"{', '.join(waits)}: none would ever go on."
    )


def _check_complete(
    graph: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
) -> None:
    wanted, seen = set(graph.tasks), set[Task]()
    for device, order in enumerate(orders):
        for task in order:
            if task not in wanted:
                raise PlanError(
                    f"A plan's tasks must be those of its layers, {graph.micro_batches} "
                    f"micro-batches and {graph.chunks} chunks, but device {device} has `{task}`."
                )
            if task in seen:
                raise PlanError(f"A plan must have each task once, but has `{task}` twice.")
            if placement[task.layer] != device:
                raise PlanError(
                    f"`{task}` must be on device {placement[task.layer]}, where its layer is, "
                    f"but is on device {device} instead."
                )
            seen.add(task)
    if missing := [task for task in graph.tasks if task not in seen]:
        raise PlanError(f"A plan must have each task once, but `{missing[0]}` is missing.")
