"""A description of the machine on which benchmarks were run."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from nmt.parallel.world import cores

# Instruction sets on which the speed of matrix products depends.
TELLING = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
QUIET = 0.3  # load average below which the machine counts as idle
NEEDED = 2  # cores that benchmarks use


def describe_machine() -> dict[str, Any]:
    """Processor, cores, instruction sets, memory, and versions of software."""
    processor = _processor()
    flags = set(processor.get("flags", "").split())
    return {
        "processor": processor.get("model name", platform.processor()),
        "family": f"{processor.get('cpu family', '?')}/{processor.get('model', '?')}",
        "cores": cores(),
        "instructions": [name for name in TELLING if name in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def state_of_machine() -> dict[str, Any]:
    """The time, and the load of the machine before a measurement."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": os.getloadavg()[0],
    }


def warnings_about(state: dict[str, Any]) -> list[str]:
    """Reasons to distrust the results: other load on the machine, or too few cores."""
    warnings = []
    if (load := state["load_before"]) >= QUIET:
        warnings.append(f"The machine was busy (load {load:.1f}): do not trust these results.")
    if cores() < NEEDED:
        warnings.append(
            f"This process may use {cores()} of {os.cpu_count()} cores, and two threads are "
            "measured: do not trust these results."
        )
    return warnings


def _processor() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; empty without such a file."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    first = file.read_text("utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
