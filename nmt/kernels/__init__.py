"""What depends on the kind of device: kernels for GPUs, products and LSTMs of CPUs, transfers.

The GPU's kernels need Triton, which PyTorch for CUDA installs on Linux.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def kernels_for(x: Tensor) -> ModuleType | None:
    """`nmt.kernels.gpu` if it can work on `x`, else None."""
    return _kernels() if x.is_cuda and x.dtype != torch.float64 else None


@cache
def _kernels() -> ModuleType | None:
    if find_spec("triton") is None:
        return None
    module = import_module("nmt.kernels.gpu")
    try:
        module.check()
    except Exception as error:
        logger.warning(
            "Triton cannot build kernels here, and PyTorch's slower operations are used instead "
            "(it needs a C compiler): %s",
            error,
        )
        return None
    return module
