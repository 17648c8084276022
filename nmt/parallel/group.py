"""The group of processes of a run, and what they tell one another outside of training steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.errors import NmtError, WorkerError
from nmt.parallel.executor import Item, Value
from nmt.parallel.world import is_worker, world

# The others wait while the main process prepares the data or writes a checkpoint. Workers that die
# are noticed at once, by whoever started them.
TIMEOUT = timedelta(hours=2)


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
    dist.init_process_group(
        backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT
    )


def own_device(names: Sequence[str], position: int) -> torch.device:
    """The device of the process that drives `names[position]`. Over NCCL it is the GPU with this
    process's number on its machine: every copy and every machine has GPUs of its own."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", world().local_rank)
    return torch.device(names[position])


def messenger() -> torch.device:
    """Where tensors must be for what the processes tell one another outside of steps."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", world().local_rank)
    return torch.device("cpu")


def sum_over(tensor: Tensor, members: dist.ProcessGroup | None = None) -> None:
    """Sum over processes, in place; over gloo a GPU's tensor goes through the CPU's memory."""
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
    """What the main process computes, on all of them, once it is done there.

    Raises:
        NmtError: what it raised there, on all of them too.
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
    """Call `compute` on all processes, each with its share of the items, for a value for each →
    all values in the items' order on the main process; empty on the others.

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
    """What a function returns, or what it raises."""
    try:
        return compute(), None
    except Exception as error:
        return None, error


def _for_others(error: Exception | None) -> NmtError | None:
    """What the other processes raise. An error that no user has caused keeps its traceback where
    it happened; they say whose it was."""
    if error is None or isinstance(error, NmtError):
        return error
    return WorkerError(
        f"All {dist.get_world_size()} workers must end well, but worker {dist.get_rank()} raised "
        f"{type(error).__name__}: {error}"
    )


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    dist.barrier()


def total(value: float, device: torch.device, group: dist.ProcessGroup | None = None) -> float:
    """The sum of all processes' values, on all of them."""
    message = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(message, group=group)
    return message.item()


def gather_lists(mine: Sequence[Value]) -> list[Value]:
    """All processes' values, joined, on the main process; empty on the others."""
    lists: list[Any] | None = [None] * dist.get_world_size() if is_main() else None
    dist.gather_object(list(mine), lists, dst=0)
    return [value for values in lists or [] for value in values]


def collect(mine: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Each process gives tensors under names of its own → all of them on the CPU of the main
    process, and nothing on the others. Tensors go one by one from process to process."""
    described = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in mine.items()]
    if not is_main():
        dist.gather_object(described, dst=0)
        for tensor in mine.values():
            dist.send(tensor.to(device).contiguous(), dst=0)
        return {}
    everything: list[Any] = [None] * dist.get_world_size()
    dist.gather_object(described, everything, dst=0)
    collected = {name: tensor.cpu() for name, tensor in mine.items()}
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

    def distribute(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Value]]
    ) -> list[Value]:
        """Call `compute` on all processes, each with its share of the items."""
        return distribute(items, compute)

    def close(self) -> None:
        """Leave the process group."""
        leave()
