"""What a GPU does by kernels of our own, where Triton is: on Linux, PyTorch brings it along."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor


def kernels_for(x: Tensor) -> ModuleType | None:
    """`nmt.model.kernels` if they can work on `x`."""
    return _kernels() if x.is_cuda and x.dtype != torch.float64 else None


@cache
def _kernels() -> ModuleType | None:
    return import_module("nmt.model.kernels") if find_spec("triton") else None
