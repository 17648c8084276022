"""Matrices in 8 bits, with one scale for each row (GNMT, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 127  # codes are symmetric: -127 … 127


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) → int8 values (N, K) and fp32 scales (N,), so that values * scales[:, None] is
    about `weight`. Quantising the result again gives the same."""
    scales = (weight.abs().amax(1) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scales[:, None]).round_().to(torch.int8), scales
