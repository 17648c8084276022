"""How a process computes while it trains."""

from __future__ import annotations

import subprocess
import sys

import torch

from nmt.run.run import using_cpu


def subnormals(count: int) -> int:
    """How many of that many products are subnormal."""
    return int((torch.full((count,), 1e-40) * 1).count_nonzero())


def test_training_takes_subnormal_numbers_as_zeros_and_restores_them() -> None:
    threads = torch.get_num_threads()
    assert subnormals(1) == 1
    with using_cpu(threads=1):
        assert torch.get_num_threads() == 1
        assert subnormals(1) == 0
        with using_cpu(threads=None):
            assert torch.get_num_threads() == 1
        assert subnormals(1) == 0, "the outer one still counts"
    assert torch.get_num_threads() == threads
    assert subnormals(1) == 1


def test_all_threads_do() -> None:
    code = """
from nmt.run.run import using_cpu
from tests.run.test_run import subnormals
import torch
with using_cpu(threads=2):
    print(subnormals(1_000_000), torch.get_num_threads())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["0", "2"]
