"""Matrix products on a CPU by oneDNN's operator, and training in fp32 with them.

PyTorch sends those in fp32 to MKL, which on AMD's processors reaches half of oneDNN's rate. oneDNN
compiles a program of some megabytes for each number of rows that it meets, so rows are padded to
multiples of UNIT, and sums over rows are computed in blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

UNIT = 64  # rows
BLOCK = 512  # rows that are summed over at a time


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` for training: x (…, K), W (N, K), bias (N,) → (…, N)."""
    supported = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    if not (supported and torch.is_grad_enabled() and torch.backends.mkldnn.is_available()):
        return F.linear(x, weight, bias)
    flat: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return flat.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(_rounded_up(x), pack(weight), bias)[: len(x)]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        wanted_x, wanted_weight, wanted_bias = ctx.needs_input_grad
        return (
            product(gradient.contiguous(), weight.t()) if wanted_x else None,
            _summed_over_rows(gradient, x) if wanted_weight else None,
            gradient.sum(0) if wanted_bias else None,
        )


def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of that type on this processor: bf16 needs AVX-512, or
    the like."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(weight: Tensor) -> Tensor:
    """A weight (N, K) as oneDNN lays it out for products with about UNIT rows; other
    numbers of rows work as well."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, UNIT)
    return packed


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (R, K), W (N, K), packed or not → x Wᵀ + bias, (R, N)."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _summed_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """a (R, M), b (R, N) → aᵀ b, (M, N)."""
    total = a.new_zeros(a.shape[1], b.shape[1])
    for block_a, block_b in zip(a.split(BLOCK), b.split(BLOCK), strict=True):
        total += product(_rounded_up(block_a).t(), _rounded_up(block_b).t())
    return total


def padded(x: Tensor, rows: int) -> Tensor:
    """x (R, K) with rows of zeros up to `rows`."""
    if rows == len(x):
        return x
    result = x.new_zeros(rows, x.shape[1])
    result[: len(x)] = x
    return result


def _rounded_up(x: Tensor) -> Tensor:
    """x (R, K) with rows of zeros up to a multiple of UNIT."""
    return padded(x, -(-len(x) // UNIT) * UNIT)
