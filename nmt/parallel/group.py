"""The group of processes of a run, and its communication outside of training steps."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.errors import ConnectionLostError, NmtError, WorkerError
from nmt.parallel.executor import Item, Value
from nmt.parallel.world import is_worker, world

# The others wait while the main process prepares the data or writes a checkpoint. Workers that die
# are noticed at once, by whoever started them.
TIMEOUT = timedelta(hours=2)

_cpus: dist.ProcessGroup | None = None  # beside NCCL's group; None: the group itself has CPUs


def backend_for(
    devices: Sequence[str], hosts: Sequence[str] = (), one_process: bool = False
) -> str:
    """How the processes of these devices (on these machines, if there are several) communicate:
    over NCCL where each has a GPU of its own, otherwise over gloo (NCCL refuses two processes on
    one GPU, and has no CPU)."""
    gpus = all(device.startswith("cuda") for device in devices)
    places = set(zip(hosts or [""] * len(devices), devices, strict=True))
    return "nccl" if gpus and len(places) == len(devices) and not one_process else "gloo"


def join(backend: str) -> None:
    """Join the group of this run's processes, over nccl or gloo, if this process has not yet."""
    place = world()
    if backend == "nccl":
        torch.cuda.set_device(place.local_rank)
    if dist.is_initialized():
        return
    # A lone process needs no rendezvous.
    store = None if is_worker() else dist.HashStore()  # type: ignore[attr-defined]
    os.environ.setdefault("LOCAL_RANK", str(place.local_rank))
    with connected():
        dist.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT
        )
    global _cpus
    _cpus = dist.new_group(backend="gloo", timeout=TIMEOUT) if backend == "nccl" else None


# What gloo, NCCL and torch's store say when another process or its host cannot be reached.
UNREACHABLE = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "connectfullmesh",
    "remote process exited",
    "socket",
    "no route to host",
    "network is unreachable",
    "timed out",
    "timeout",
    "unable to find address",
    "unable to resolve",
)


@contextmanager
def connected() -> Iterator[None]:
    """Turn torch's errors of communication into a sentence.

    Raises:
        ConnectionLostError: inside, another process could not be reached.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        told = str(error)
        if not any(text in told.lower() for text in UNREACHABLE):
            raise
        place = world()
        master = os.environ.get("MASTER_ADDR", "127.0.0.1")
        raise ConnectionLostError(
            f"All {place.size} processes must stay connected, but rank {place.rank} on "
            f"{socket.gethostname()} cannot reach another one ({_shortened(told)}); look at the "
            f"messages of the other ranks, and at the network between this host and {master} "
            "(GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the interface to use)."
        ) from None


def _shortened(message: str) -> str:
    """The first line of a message of torch, without the place in its source code."""
    return re.sub(r"\[\S+\.\w+:\d+\]\s*", "", message.strip()).splitlines()[0].partition(". ")[0]


def own_device(names: Sequence[str], position: int) -> torch.device:
    """The device of the process that drives `names[position]`. Over NCCL it is the GPU with this
    process's local rank: every replica and every machine has GPUs of its own."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", world().local_rank)
    return torch.device(names[position])


def messenger() -> torch.device:
    """The device that a tensor must be on to be communicated outside of training steps."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", world().local_rank)
    return torch.device("cpu")


def sum_over(tensor: Tensor, members: dist.ProcessGroup | None = None) -> None:
    """Sum over processes, in place. Over gloo, a GPU's tensor is staged in the CPU's memory."""
    if dist.get_backend() == "nccl" or tensor.device.type == "cpu":
        dist.all_reduce(tensor, group=members)
        return
    staged = tensor.cpu()
    dist.all_reduce(staged, group=members)
    tensor.copy_(staged)


def leave() -> None:
    """Leave the group, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    return dist.get_rank() == 0


def from_main(compute: Callable[[], Value]) -> Value:
    """Call `compute` on the main process → its result, on all of them.

    Raises:
        NmtError: what it raised, on all of them too.
    """
    value, error = _attempt(compute) if is_main() else (None, None)
    outcome: list[Any] = [value, _for_others(error)]
    dist.broadcast_object_list(outcome, src=0)
    if error is not None:
        raise error
    if outcome[1] is not None:
        raise outcome[1]
    return cast("Value", outcome[0])


def distribute(
    items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Value]]
) -> list[Value]:
    """Call `compute` on every process with its share of the items; it returns a value for each of
    them → all values in the order of the items on the main process, an empty list on the others.

    Raises:
        NmtError: what it raised on any process, on all of them.
    """
    rank, processes = dist.get_rank(), dist.get_world_size()
    values, error = _attempt(lambda: list(compute(items[rank::processes])))
    errors: list[Any] = [None] * processes
    dist.all_gather_object(errors, _for_others(error))
    if error is not None:
        raise error
    for other in errors:
        if other is not None:
            raise other
    shares: list[Any] | None = [None] * processes if is_main() else None
    dist.gather_object(values, shares, dst=0)
    if shares is None:
        return []
    everything: list[Any] = [None] * len(items)
    for first, share in enumerate(shares):
        everything[first::processes] = share
    return everything


def _attempt(compute: Callable[[], Value]) -> tuple[Value | None, Exception | None]:
    """Call a function → its result and None, or None and its exception."""
    try:
        return compute(), None
    except Exception as error:
        return None, error


def _for_others(error: Exception | None) -> NmtError | None:
    """The error that the other processes raise. Where it is not the user's, they name the process
    that failed, which alone has the traceback."""
    if error is None or isinstance(error, NmtError):
        return error
    return WorkerError(
        f"All {dist.get_world_size()} workers must end well, but worker {dist.get_rank()} raised "
        f"{type(error).__name__}: {error}"
    )


def largest(value: int) -> int:
    """The largest value of all processes, on all of them. Over the CPUs, so that no GPU is waited
    for."""
    message = torch.tensor(value)
    dist.all_reduce(message, dist.ReduceOp.MAX, group=_cpus)
    return int(message)


def wait_for_all() -> None:
    """Wait until all processes have called this."""
    dist.barrier()


def total(value: float, device: torch.device, group: dist.ProcessGroup | None = None) -> float:
    """The sum of all processes' values, on all of them."""
    message = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(message, group=group)
    return message.item()


def gather_lists(values: Sequence[Value]) -> list[Value]:
    """The values of all processes, concatenated by rank, on the main process; empty on the
    others."""
    lists: list[Any] | None = [None] * dist.get_world_size() if is_main() else None
    dist.gather_object(list(values), lists, dst=0)
    return [value for one in lists or [] for value in one]


def collect(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Collect tensors that each process has under other names → all of them on the main process, in
    the CPU's memory; empty on the others. They are sent one at a time."""
    described = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()]
    if not is_main():
        dist.gather_object(described, dst=0)
        for tensor in tensors.values():
            dist.send(tensor.to(device).contiguous(), dst=0)
        return {}
    everything: list[Any] = [None] * dist.get_world_size()
    dist.gather_object(described, everything, dst=0)
    collected = {name: tensor.cpu() for name, tensor in tensors.items()}
    for rank, descriptions in enumerate(everything[1:], start=1):
        for name, shape, dtype in descriptions:
            buffer = torch.empty(shape, dtype=dtype, device=device)
            dist.recv(buffer, src=rank)
            collected[name] = buffer.cpu()
    return collected


class GroupMember:
    """What the executors of several processes have in common."""

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return is_main()

    def from_main(self, compute: Callable[[], Value]) -> Value:
        """What `compute` returns on the main process, on all of them."""
        return from_main(compute)

    def largest(self, value: int) -> int:
        """The largest value of all processes."""
        return largest(value)

    def distribute(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Value]]
    ) -> list[Value]:
        """Call `compute` on all processes, each with its share of the items."""
        return distribute(items, compute)

    def close(self) -> None:
        """Leave the process group."""
        leave()
