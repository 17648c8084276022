"""Number formats in decoding: how activations are coded, and products with weights.

fp32 and bf16 values are their own codes. In int8, a weight has 8 bits, with one scale for each row
of its matrix (GNMT, section 6); an activation has 8 bits of a range that is known in advance from
the largest value that the layer can give (`bound`), so that its code does not depend on the rest of
the batch. Sums are in 32 bits, and cells, attention and softmax in fp32.

Weights are laid out once for oneDNN's products (`nn.Linear` in fp32 goes to MKL, which reaches half
of oneDNN's rate on AMD processors). R rows, K inputs, N outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.kernels.native import PackedMatrix, packed
from nmt.kernels.products import can_pack, pack, padded, product
from nmt.model.graph import total
from nmt.model.rows import LARGEST, quantise
from nmt.precision.bf16 import require_bf16
from nmt.precision.int8 import require_int8

Name = Literal["fp32", "bf16", "int8"]
ZERO = 128  # oneDNN's products take unsigned activations; this code is 0


@dataclass(frozen=True)
class Weights:
    """A matrix and its bias in a number format, not yet laid out for products."""

    values: Tensor  # (N, K)
    scales: Tensor | None  # (N,) of int8
    bias: Tensor | None  # (N,)

    def rows(self, ids: Tensor) -> Weights:
        """The weights of some outputs."""
        scales = None if self.scales is None else self.scales[ids]
        bias = None if self.bias is None else self.bias[ids]
        return Weights(self.values.index_select(0, ids), scales, bias)


class Linear(ABC):
    """x Wᵀ + b with weights that are prepared once."""

    # The same weights for compiled code, where there is one.
    matrix: PackedMatrix | None = None

    @abstractmethod
    def __call__(self, codes: Tensor) -> Tensor:
        """(R, K) → (R, N) in fp32 or the weights' format."""

    def exact(self, codes: Tensor) -> Tensor:
        """(R, K) → (R, N) in fp32, rounded as little as possible."""
        return self(codes).float()


class Format(ABC):
    """How numbers are stored and multiplied. `bound` is the largest absolute value that a tensor
    can have; only formats with a fixed range use it."""

    rounds: bool  # whether a product's result has fewer bits than fp32
    weight_type: torch.dtype

    @abstractmethod
    def encode(self, x: Tensor, bound: float) -> Tensor:
        """Values within ±`bound` → their codes."""

    @abstractmethod
    def decode(self, codes: Tensor, bound: float) -> Tensor:
        """Codes → values in a floating format."""

    @abstractmethod
    def weights(
        self, weight: Tensor, bias: Tensor | None, inputs: Sequence[tuple[int, float]]
    ) -> Weights:
        """Weight (N, K) and bias (N,) in fp32 → the same in this format. The K columns multiply
        `inputs`, which stand side by side: the width and bound of each."""

    @abstractmethod
    def prepared(self, weights: Weights) -> Linear:
        """Weights laid out for products."""

    def linear(
        self, weight: Tensor, bias: Tensor | None, inputs: Sequence[tuple[int, float]]
    ) -> Linear:
        """The product with fp32 weights: `weights`, then `prepared`."""
        return self.prepared(self.weights(weight, bias, inputs))

    def add(self, parts: Sequence[Tensor], bounds: Sequence[float]) -> Tensor:
        """The sum of coded tensors, as values."""
        return total(
            [self.decode(codes, bound) for codes, bound in zip(parts, bounds, strict=True)]
        )


class FloatFormat(Format):
    """fp32 or bf16."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = self.weight_type = dtype
        self.rounds = dtype != torch.float32

    def encode(self, x: Tensor, bound: float) -> Tensor:  # noqa: ARG002 - as every format
        """See Format."""
        return x.to(self.dtype)

    def decode(self, codes: Tensor, bound: float) -> Tensor:  # noqa: ARG002 - as every format
        """See Format."""
        return codes

    def weights(
        self,
        weight: Tensor,
        bias: Tensor | None,
        inputs: Sequence[tuple[int, float]],  # noqa: ARG002 - as every format
    ) -> Weights:
        """See Format."""
        return Weights(weight.to(self.dtype), None, None if bias is None else bias.to(self.dtype))

    def prepared(self, weights: Weights) -> Linear:
        """See Format."""
        packed = weights.values.device.type == "cpu" and can_pack(self.dtype)
        return PackedLinear(weights) if packed else PlainLinear(weights)


class Int8Format(Format):
    """8 bits, on CPUs only."""

    rounds = False
    weight_type = torch.int8

    def encode(self, x: Tensor, bound: float) -> Tensor:
        """See Format."""
        # Without the half, the conversion would round towards zero; with it, rounding may take a
        # value over its bound, which is still the last code.
        return torch.add(_number(ZERO + 0.5), x, alpha=LARGEST / bound).to(torch.uint8)

    def decode(self, codes: Tensor, bound: float) -> Tensor:
        """See Format."""
        unit = bound / LARGEST
        return torch.add(_number(-ZERO * unit), codes, alpha=unit)

    def weights(
        self, weight: Tensor, bias: Tensor | None, inputs: Sequence[tuple[int, float]]
    ) -> Weights:
        """See Format. The columns are multiplied by the units of the codes they read."""
        units = torch.cat([torch.full((width,), bound / LARGEST) for width, bound in inputs])
        return Weights(*quantise(weight * units), bias)

    def prepared(self, weights: Weights) -> Linear:
        """See Format."""
        return Int8Linear(weights)


@cache
def _number(value: float) -> Tensor:
    """A scalar that is not made into a tensor anew at every step."""
    return torch.tensor(value)


class PlainLinear(Linear):
    """PyTorch's own product."""

    def __init__(self, weights: Weights) -> None:
        self._weight, self._bias = weights.values, weights.bias

    def __call__(self, codes: Tensor) -> Tensor:
        """See Linear."""
        return F.linear(codes, self._weight, self._bias)

    def exact(self, codes: Tensor) -> Tensor:
        """See Linear. cuBLAS gives the sums themselves."""
        if not codes.is_cuda or self._bias is not None or codes.dtype == torch.float32:
            return super().exact(codes)
        return torch.mm(codes, self._weight.t(), out_dtype=torch.float32)


class _InBlocks(Linear):
    """oneDNN compiles a program of about a megabyte for every number of rows that it meets, and for
    large numbers it keeps buffers of their size, too. So rows are padded to one of 50 numbers:
    those up to 16, eight between each two powers of 2, and blocks of `BLOCK`."""

    BLOCK = 320  # 64 sentences with beams of 5

    def __call__(self, codes: Tensor) -> Tensor:
        """See Linear."""
        rows = len(codes)
        if rows <= self.BLOCK:
            filled = rounded_up(rows)
            result = self._product(padded(codes, filled))
            return result if filled == rows else result[:rows]
        blocks = codes.split(self.BLOCK)
        first = self._product(blocks[0])
        result = first.new_empty(rows, first.shape[1])
        result[: self.BLOCK] = first
        for i, block in enumerate(blocks[1:], 1):
            part = self._product(padded(block, rounded_up(len(block))))
            result[i * self.BLOCK : (i + 1) * self.BLOCK] = part[: len(block)]
        return result

    @abstractmethod
    def _product(self, codes: Tensor) -> Tensor:
        """The product of at most BLOCK rows."""


def rounded_up(rows: int) -> int:
    """The next number of rows that products are made for."""
    step = 1 << max(0, rows.bit_length() - 4)
    return -(-rows // step) * step


class PackedLinear(_InBlocks):
    """oneDNN in fp32 or bf16."""

    def __init__(self, weights: Weights) -> None:
        self._weight = pack(weights.values.contiguous())
        self._bias = weights.bias
        self.matrix = packed(weights.values, None, weights.bias)

    def _product(self, codes: Tensor) -> Tensor:
        return product(codes, self._weight, self._bias)


class Int8Linear(_InBlocks):
    """oneDNN in int8."""

    def __init__(self, weights: Weights) -> None:
        assert weights.scales is not None, "int8 has scales"
        self._scales, self._bias = weights.scales, weights.bias
        self._zeros = torch.zeros(len(weights.values), dtype=torch.int64)
        self._weight = torch.ops.onednn.qlinear_prepack(weights.values, None)
        self.matrix = packed(weights.values, weights.scales, weights.bias)

    def _product(self, codes: Tensor) -> Tensor:
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            codes,
            1.0,
            ZERO,
            self._weight,
            self._scales,
            self._zeros,
            self._bias,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return result


def format_of(name: Name) -> Format:
    """The format called `name`."""
    match name:
        case "fp32":
            return FloatFormat(torch.float32)
        case "bf16":
            return FloatFormat(torch.bfloat16)
        case "int8":
            return Int8Format()


def require(name: Name, device: str, emulate: bool) -> None:
    """Check that `device` supports the format.

    Raises:
        ConfigurationError: it has no instructions for it.
    """
    if name == "bf16":
        require_bf16(device, emulate)
    elif name == "int8":
        require_int8(device)
