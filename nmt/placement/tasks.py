"""The tasks of a training step and their dependencies: the forward and backward pass of each layer
on each micro-batch and chunk of time. Names and numbers only.

A layer is split into chunks along the time axis of its output, unless it is not chunkable (such as
one that reads its input from the end). A chunkable layer reads only its own chunk's time steps from
layers on the same axis, but all time steps from layers on another axis (attention reads the whole
source); the gradients that its chunks send back to those are summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from nmt.errors import PlanError


class LayerInfo(NamedTuple):
    """What the tasks of a layer depend on."""

    inputs: tuple[str, ...]  # names of layers
    axis: str  # time axis of its output
    chunkable: bool  # whether it can run chunk by chunk along that axis


Layers = Mapping[str, LayerInfo]  # in topological order


SENTENCES = "sentences"  # key of the number of sentences in the sizes of a micro-batch


def amount_of_work(layers: Layers, size: Mapping[str, int]) -> dict[str, float]:
    """The work of each layer on a micro-batch, in a unit that differs from layer to layer. `size`
    has the number of sentences, and for each time axis the number of positions: sentences × steps,
    padding included. A layer that reads another axis (attention) combines each step of its own axis
    with each step of the other."""
    work = {}
    for name, info in layers.items():
        work[name] = float(size[info.axis])
        for axis in {layers[source].axis for source in info.inputs} - {info.axis}:
            work[name] *= size[axis] / size[SENTENCES]
    return work


class ChunkKey(NamedTuple):
    """Identifies one chunk of a layer's output for a micro-batch."""

    layer: str
    micro_batch: int
    chunk: int

    @property
    def previous(self) -> ChunkKey:
        """The same layer and micro-batch, one chunk earlier."""
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
            PlanError: the text does not describe a task.
        """
        try:
            direction, layer, micro_batch, chunk = text.split(" ")
            backward = {"forward": False, "backward": True}[direction]
            return cls(layer, int(micro_batch), int(chunk), backward)
        except (ValueError, KeyError):
            raise PlanError(
                "A task must be written like `forward encoder.1 0 0` (layer, micro-batch, chunk), "
                f"but is {text!r} instead."
            ) from None


@dataclass(frozen=True)
class TaskGraph:
    """All tasks of a training step, or of a forward pass, and their dependencies."""

    layers: Layers
    micro_batches: int
    chunks: int
    training: bool = True  # whether there are backward tasks

    def chunks_of(self, layer: str) -> int:
        """Number of chunks that the layer is split into."""
        return self.chunks if self.layers[layer].chunkable else 1

    def reads_all_steps(self, reader: str, layer: str) -> bool:
        """Whether `reader` reads all time steps of its input `layer` at once."""
        return (
            not self.layers[reader].chunkable or self.layers[reader].axis != self.layers[layer].axis
        )

    def chunks_read(self, reader: str, chunk: int, layer: str) -> Sequence[int]:
        """The chunks of `layer` that are read by chunk `chunk` of `reader`."""
        if self.reads_all_steps(reader, layer) or not self.layers[layer].chunkable:
            return range(self.chunks_of(layer))
        return (chunk,)

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Layer → the layers that read it."""
        readers: dict[str, list[str]] = {layer: [] for layer in self.layers}
        for reader, info in self.layers.items():
            for layer in dict.fromkeys(info.inputs):
                readers[layer].append(reader)
        return {layer: tuple(names) for layer, names in readers.items()}

    def chunks_reading(self, layer: str, chunk: int, reader: str) -> Sequence[int]:
        """The chunks of `reader` that read chunk `chunk` of `layer`."""
        if self.reads_all_steps(reader, layer) or not self.layers[layer].chunkable:
            return range(self.chunks_of(reader))
        return (chunk,)

    def needs(self, task: Task) -> list[Task]:
        """The tasks that must be done before `task`, all of the same micro-batch. The chunks of a
        layer run in order, since each passes its state to the next, and backward in reverse."""
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
        """All tasks in topological order: one micro-batch after another, each forward and then, in
        reverse, backward."""
        tasks: list[Task] = []
        for m in range(self.micro_batches):
            forward = [Task(n, m, c) for n in self.layers for c in range(self.chunks_of(n))]
            tasks += forward
            if self.training:
                tasks += [task._replace(backward=True) for task in reversed(forward)]
        return tuple(tasks)

    @cached_property
    def dependents(self) -> Mapping[Task, tuple[Task, ...]]:
        """Task → the tasks that need it."""
        dependents: dict[Task, list[Task]] = {task: [] for task in self.tasks}
        for task in self.tasks:
            for need in self.needs(task):
                dependents[need].append(task)
        return {task: tuple(after) for task, after in dependents.items()}

    @cached_property
    def needed(self) -> Mapping[Task, int]:
        """Task → number of tasks that it needs."""
        return {task: len(self.needs(task)) for task in self.tasks}


def check_orders(
    graph: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
) -> None:
    """Check that devices can run all tasks of the graph, each in its own order, without deadlock.

    Raises:
        PlanError: a task is missing, given twice, or on a device that does not have its layer; or
            the devices would deadlock, and the message names the tasks at which they wait.
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
        "A plan's devices must be able to run their tasks in order, but these would deadlock: "
        f"{', '.join(waits)}."
    )


def _check_complete(
    graph: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
) -> None:
    wanted, seen = set(graph.tasks), set[Task]()
    for device, order in enumerate(orders):
        for task in order:
            if task not in wanted:
                raise PlanError(
                    f"A plan's tasks must be those of its layers with {graph.micro_batches} "
                    f"micro-batches and {graph.chunks} chunks, but device {device} has `{task}`."
                )
            if task in seen:
                raise PlanError(f"A plan must have each task exactly once, but has `{task}` twice.")
            if placement[task.layer] != device:
                raise PlanError(
                    f"`{task}` must be on device {placement[task.layer]}, where its layer is, "
                    f"but is on device {device} instead."
                )
            seen.add(task)
    if missing := [task for task in graph.tasks if task not in seen]:
        raise PlanError(f"A plan must have each task exactly once, but lacks `{missing[0]}`.")
