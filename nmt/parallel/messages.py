"""What devices send to one another in a step, and how.

Both ends of a link know every device's order of work, and so the order of messages; their shapes
follow from the batch, which every process has. So only the values are sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.placement.tasks import ChunkKey, Task, TaskGraph

AHEAD = 8  # receives that are posted before they are needed, on each link


class ChunkMessage(NamedTuple):
    """One chunk of a layer's output, or its gradient, summed over the sender's layers that read
    it."""

    key: ChunkKey
    gradient: bool


Link = tuple[int, int]  # sender, receiver: positions in the plan's devices
Addressed = tuple[int, ChunkMessage]  # the device at the other end, and the message


@dataclass(frozen=True)
class Traffic:
    """All messages of a step."""

    after: Mapping[Task, Sequence[Addressed]]  # sent when the task is done
    before: Mapping[Task, Sequence[Addressed]]  # received before it starts
    links: Mapping[Link, Sequence[ChunkMessage]]  # in the order of sending


def traffic(
    graph: TaskGraph, placement: Mapping[str, int], orders: Sequence[Sequence[Task]]
) -> Traffic:
    """Work out which device sends what when. Every output goes to a device at most once, however
    many of its layers read it, and one gradient comes back."""
    after: dict[Task, list[Addressed]] = defaultdict(list)
    before: dict[Task, list[Addressed]] = defaultdict(list)
    readers = {
        layer: {placement[reader] for reader in graph.readers[layer]} - {placement[layer]}
        for layer in graph.layers
    }  # the other devices that read a layer's output
    for here, order in enumerate(orders):
        got: set[ChunkMessage] = set()
        left = Counter(key for task in order if task.backward for key in _read(graph, task))
        for task in order:
            output = ChunkMessage(task.key, gradient=task.backward)
            exchanges = before if task.backward else after
            exchanges[task] += [(reader, output) for reader in sorted(readers[task.layer])]
            for key in _read(graph, task):
                source = placement[key.layer]
                if source == here:
                    continue
                if not task.backward:
                    if (message := ChunkMessage(key, gradient=False)) not in got:
                        got.add(message)
                        before[task].append((source, message))
                    continue
                left[key] -= 1
                if not left[key]:
                    after[task].append((source, ChunkMessage(key, gradient=True)))
    links: dict[Link, list[ChunkMessage]] = defaultdict(list)
    for here, order in enumerate(orders):
        for task in order:
            for receiver, message in after[task]:
                links[here, receiver].append(message)
    return Traffic(after, before, links)


def _read(graph: TaskGraph, task: Task) -> list[ChunkKey]:
    """The outputs that a task, or its forward task, reads; a layer's first chunk last."""
    return [
        ChunkKey(layer, task.micro_batch, chunk)
        for layer in dict.fromkeys(graph.layers[task.layer].inputs)
        for chunk in reversed(graph.chunks_read(task.layer, task.chunk, layer))
    ]


Shape = Callable[[ChunkKey], tuple[int, ...]]


class Exchange(Protocol):
    """How messages get from one device to another."""

    def begin(self, traffic: Traffic, shape: Shape) -> None:
        """Start a step."""

    def send(self, link: Link, message: ChunkMessage, tensor: Tensor) -> None:
        """Send without waiting."""

    def receive(self, link: Link, message: ChunkMessage) -> Tensor:
        """Wait for a message."""

    def end(self) -> None:
        """Finish a step: wait until all messages have been sent."""


class BetweenProcesses:
    """Messages to and from this process's device, over gloo or NCCL.

    Receives are posted before they are needed, so that messages travel while both ends work. Over
    NCCL, every link has a communicator, and so a stream, of its own: on a shared one, a send that
    waits for its receiver would block everything behind it.
    """

    def __init__(
        self, here: int, ranks: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> None:
        """`ranks` are the processes of the plan's devices, this one's being `ranks[here]`."""
        self._here, self._ranks, self._dtype, self._device = here, ranks, dtype, device
        self._staged = device.type == "cuda" and dist.get_backend() == "gloo"
        self._groups: Mapping[Link, dist.ProcessGroup | None] = {}
        self._outgoing: deque[tuple[Any, Tensor]] = deque()

    def use_groups(self, groups: Mapping[Link, dist.ProcessGroup | None]) -> None:
        """Set the communicators of the links."""
        self._groups = groups

    def begin(self, traffic: Traffic, shape: Shape) -> None:
        """Start a step: post the first receives."""
        self._shape = shape
        self._expected = {
            link: deque(messages)
            for link, messages in traffic.links.items()
            if link[1] == self._here
        }
        self._posted: dict[tuple[Link, ChunkMessage], tuple[Any, Tensor]] = {}
        for link in self._expected:
            self._post(link)

    def _post(self, link: Link, until: ChunkMessage | None = None) -> None:
        """Post receives: AHEAD of them, and all up to `until`."""
        expected = self._expected[link]
        ahead = sum(1 for posted, _ in self._posted if posted == link)
        while expected and (ahead < AHEAD or (until and (link, until) not in self._posted)):
            message = expected.popleft()
            where = torch.device("cpu") if self._staged else self._device
            buffer = torch.empty(self._shape(message.key), dtype=self._dtype, device=where)
            work = None
            if buffer.numel():
                work = dist.irecv(buffer, self._ranks[link[0]], group=self._groups.get(link))
            self._posted[link, message] = work, buffer
            ahead += 1

    def receive(self, link: Link, message: ChunkMessage) -> Tensor:
        """Wait for a message."""
        if (link, message) not in self._posted:
            self._post(link, until=message)
        work, buffer = self._posted.pop((link, message))
        if work is not None:
            work.wait()
        self._post(link)
        return buffer.to(self._device) if self._staged else buffer

    def send(self, link: Link, message: ChunkMessage, tensor: Tensor) -> None:  # noqa: ARG002 - ordered
        """Send without waiting. The tensor is kept until it has been sent."""
        while self._outgoing and self._outgoing[0][0].is_completed():
            self._outgoing.popleft()
        if tensor.numel():
            tensor = (tensor.cpu() if self._staged else tensor).contiguous()
            work = dist.isend(tensor, self._ranks[link[1]], group=self._groups.get(link))
            self._outgoing.append((work, tensor))

    def end(self) -> None:
        """Wait until all messages have been sent."""
        for work, _ in self._outgoing:
            work.wait()
        self._outgoing.clear()


class WithinProcess:
    """Messages between the devices of one process. On GPUs, the receiver's stream waits for the
    sender's, without blocking this process."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self._sent: dict[tuple[Link, ChunkMessage], tuple[Tensor, torch.cuda.Event | None]] = {}

    def begin(self, traffic: Traffic, shape: Shape) -> None:  # noqa: ARG002 - as for processes
        """Start a step."""
        self._sent.clear()

    def send(self, link: Link, message: ChunkMessage, tensor: Tensor) -> None:
        """Leave a message for the other device."""
        sender, receiver = (self._devices[device] for device in link)
        tensor = tensor.to(receiver, non_blocking=True)
        # The copy is on the sender's stream, or on the receiver's current one if a CPU sends.
        copying = next((device for device in (sender, receiver) if device.type == "cuda"), None)
        event = None
        if copying is not None:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(copying))
        self._sent[link, message] = tensor, event

    def receive(self, link: Link, message: ChunkMessage) -> Tensor:
        """Take a message."""
        tensor, event = self._sent.pop((link, message))
        device = self._devices[link[1]]
        if event is not None:
            if device.type == "cuda":
                stream = torch.cuda.current_stream(device)
                stream.wait_event(event)
                tensor.record_stream(stream)
            else:
                event.synchronize()
        return tensor

    def end(self) -> None:
        """Nothing to wait for."""
