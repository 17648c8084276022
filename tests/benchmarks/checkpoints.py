"""`python -m tests.benchmarks.checkpoints [key=value …]`: time to write and read a checkpoint.

Each of two processes has half of a model's state: parameters and Adam's two moments. The state is
written as in this project (gathered on the first process into one safetensors file) and by
torch.distributed.checkpoint (one file for each process), and read again by both processes, each of
which keeps its half. The two ways take turns.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from nmt.parallel import group
from nmt.run.processes import end_worker, run_workers
from tests.benchmarks.options import read_options

PROCESSES = 2


@dataclass(frozen=True)
class Options:
    """Settings of the measurement."""

    tensors: int = 120  # number in the whole state, about that of a model with 4+4 layers
    megabytes: float = 450.0  # size of the whole state: fp32 parameters and two moments
    repeats: int = 5
    output: Path = Path("runs/bench")


def main() -> None:
    """Print the medians, and write all results to checkpoints.json."""
    options = read_options(Options, sys.argv[1:])
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "checkpoints.json"
    arguments = [str(options.tensors), str(options.megabytes), str(options.repeats), str(file)]
    run_workers(
        [sys.executable, "-m", "tests.benchmarks.checkpoints", "worker", *arguments], PROCESSES, 1
    )
    for name, values in json.loads(file.read_text(encoding="utf-8")).items():
        print(f"{name}: {values['median']:.2f} {values['unit']} {values['all']}")


def worker(tensors: int, megabytes: float, repeats: int, file: Path) -> None:
    """Measure as one of the two processes; the first one writes the results to `file`."""
    group.join("gloo")
    rank = dist.get_rank()
    size = int(megabytes * 1e6 / 4 / tensors)
    own = {f"tensor{i}": torch.randn(size) for i in range(tensors) if i % PROCESSES == rank}
    path: list[str | None] = [tempfile.mkdtemp() if rank == 0 else None]
    dist.broadcast_object_list(path, src=0)
    folder = Path(str(path[0]))
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats + 1):  # the first warms up
        for name, work in (
            ("gathered, write", lambda: _write_gathered(own, folder)),
            ("gathered, read", lambda: _read_gathered(own, folder)),
            ("torch.distributed.checkpoint, write", lambda: _write_dcp(own, folder)),
            ("torch.distributed.checkpoint, read", lambda: _read_dcp(own, folder)),
        ):
            seconds.setdefault(name, []).append(_timed(work))
    if rank == 0:
        sizes = {
            "gathered": (folder / "state.safetensors").stat().st_size,
            "torch.distributed.checkpoint": sum(
                part.stat().st_size for part in (folder / "dcp").iterdir()
            ),
        }
        results = {
            name: {"median": median(values[1:]), "unit": "s", "all": values[1:]}
            for name, values in seconds.items()
        }
        results |= {
            f"{name}, size": {"median": value / 1e6, "unit": "MB", "all": [value / 1e6]}
            for name, value in sizes.items()
        }
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder)
    group.leave()


def _timed(work: Callable[[], None]) -> float:
    """Seconds until all processes have done the work."""
    dist.barrier()
    start = time.perf_counter()
    work()
    dist.barrier()
    return time.perf_counter() - start


def _write_gathered(own: dict[str, Tensor], folder: Path) -> None:
    state = group.collect(own, torch.device("cpu"))
    if group.is_main():
        save_file(state, folder / "state.safetensors")


def _read_gathered(own: dict[str, Tensor], folder: Path) -> None:
    state = load_file(folder / "state.safetensors")
    for name, tensor in own.items():
        tensor.copy_(state[name])


def _write_dcp(own: dict[str, Tensor], folder: Path) -> None:
    if group.is_main():
        shutil.rmtree(folder / "dcp", ignore_errors=True)
    dist.barrier()
    save(own, storage_writer=FileSystemWriter(folder / "dcp"))


def _read_dcp(own: dict[str, Tensor], folder: Path) -> None:
    load(own, storage_reader=FileSystemReader(folder / "dcp"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
        end_worker()
    main()
