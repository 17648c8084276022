"""Decoding on CPUs by compiled code: the C beside this file.

Calling PyTorch's operations takes most of the time of a single sentence, and a quarter of that of a
large batch. Where there is no compiler, they are used nevertheless.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nmt.kernels.compiled import compiled

MAX_INPUTS, MAX_LAYERS, MAX_ATTENTIONS, MAX_BEAMS = 4, 64, 4, 32  # as in layers.h and search.h
FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
KINDS = (
    "embedding",
    "lstm",
    "gru",
    "keys",
    "attention",
    "output",
    "cell",
)  # in the order of layers.h
SOURCES = Path(__file__).parent
ELEMENTARY = SOURCES / "elementary.h"  # functions that other compiled code may include


class MatrixStruct(Structure):
    """`Matrix` of products.h."""

    _fields_ = [
        ("format", c_int64),
        ("inputs", c_int64),
        ("outputs", c_int64),
        ("weights", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
        ("offsets", c_void_p),
    ]


class LayerStruct(Structure):
    """`Layer` of layers.h."""

    _fields_ = [
        ("kind", c_int64),
        ("inputs", c_int64 * MAX_INPUTS),
        ("input_count", c_int64),
        ("input_bounds", c_float * MAX_INPUTS),
        ("width", c_int64),
        ("bound", c_float),
        ("residuals", c_int64),
        ("clip", c_float),
        ("cell_clip", c_float),
        ("logit_clip", c_float),
        ("reverse", c_int64),
        ("memory", c_int64),
        ("first", MatrixStruct),
        ("second", MatrixStruct),
        ("table", c_void_p),
        ("weight", c_void_p),
        ("cell", c_void_p),
        ("heads", c_int64),
        ("products", c_int64),
        ("gain", c_void_p),
        ("shift", c_void_p),
    ]


class ModelStruct(Structure):
    """`Model` of layers.h."""

    _fields_ = [
        ("format", c_int64),
        ("source_count", c_int64),
        ("target_count", c_int64),
        ("attention_count", c_int64),
        ("source", POINTER(LayerStruct)),
        ("target", POINTER(LayerStruct)),
        ("keys", c_int64 * MAX_ATTENTIONS),
        ("values", c_int64 * MAX_ATTENTIONS),
        ("alignment", c_int64),
    ]


class SentenceStruct(Structure):
    """`Sentence` of search.h."""

    _fields_ = [
        ("K", c_int64),
        ("S", c_int64),
        ("C", c_int64),
        ("length", c_int64),
        ("ngram", c_int64),
        ("limit", c_int64),
        ("coverage", c_float),
        ("enough", c_float),
        ("done", c_int64),
        ("ended", c_int64),
        ("keys", c_void_p * MAX_ATTENTIONS),
        ("values", c_void_p * MAX_ATTENTIONS),
        ("state", c_void_p),
        ("spare", c_void_p),
        ("running", c_void_p),
        ("last", c_void_p),
        ("tokens", c_void_p),
        ("spare_tokens", c_void_p),
        ("attended", c_void_p),
        ("spare_attended", c_void_p),
        ("weights", c_void_p),
        ("weights_of_head", c_void_p),
        ("attention", c_void_p),
        ("parents", c_void_p),
        ("output", POINTER(MatrixStruct)),
        ("allowed", c_void_p),
        ("output_bias", c_void_p),
        ("finished_count", c_int64),
        ("finished_beams", c_int64 * MAX_BEAMS),
        ("finished_scores", c_float * MAX_BEAMS),
        ("finished_coverage", c_float * MAX_BEAMS),
        ("finished_tokens", c_void_p),
    ]


class PackedMatrix:
    """A weight matrix as the compiled products read it. Owns its memory."""

    def __init__(
        self, library: ctypes.CDLL, values: Tensor, scales: Tensor | None, bias: Tensor | None
    ) -> None:
        """`values` (N, K) in fp32, bf16 or int8, then with `scales` (N,); `bias` (N,)."""
        outputs, inputs = values.shape
        kind = FORMATS[values.dtype]
        size = library.nmt_packed_bytes(kind, outputs, inputs)
        self._weights = aligned(size)
        self._scales = scales
        self._bias = None if bias is None else bias.float().contiguous()
        self._offsets = torch.zeros(outputs if scales is not None else 0, dtype=torch.int32)
        self.struct = MatrixStruct(
            kind,
            inputs,
            outputs,
            address(self._weights),
            address(self._scales),
            address(self._bias),
            address(self._offsets),
        )
        rows = values.contiguous()
        library.nmt_pack(byref(self.struct), address(rows))


class NativeLayer:
    """What the compiled code needs to know of a layer. Owns what it points to."""

    def __init__(
        self,
        kind: str,
        width: int,
        bound: float,
        *,
        first: PackedMatrix | None = None,
        second: PackedMatrix | None = None,
        table: Tensor | None = None,
        weight: Tensor | None = None,
        residuals: int = 0,
        clip: float | None = None,
        cell_clip: float | None = None,
        logit_clip: float | None = None,
        reverse: bool = False,
        cell: int | None = None,
        heads: int = 1,
        products: bool = False,
        gain: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> None:
        """The fields of `Layer` in layers.h; `kind` is one of KINDS."""
        weight = None if weight is None else weight.float().contiguous()
        gain = None if gain is None else gain.detach().float().contiguous()
        shift = None if shift is None else shift.detach().float().contiguous()
        self._owned = (first, second, table, weight, gain, shift)
        self.tokens = None if table is None else len(table)  # that an embedding has
        self.struct = LayerStruct(
            kind=KINDS.index(kind),
            width=width,
            bound=bound,
            residuals=residuals,
            clip=clip or 0.0,
            cell_clip=cell_clip or 0.0,
            logit_clip=logit_clip or 0.0,
            reverse=reverse,
            table=address(table),
            weight=address(weight),
            cell=cell,
            heads=heads,
            products=products,
            gain=address(gain),
            shift=address(shift),
        )
        if first is not None:
            self.struct.first = first.struct
        if second is not None:
            self.struct.second = second.struct

    def reads(self, inputs: list[int], bounds: list[float]) -> None:
        """Set the layers of its side that it reads, and the bounds of their outputs."""
        self.struct.input_count = len(inputs)
        self.struct.inputs[: len(inputs)] = inputs
        self.struct.input_bounds[: len(inputs)] = bounds


def packed(values: Tensor, scales: Tensor | None, bias: Tensor | None) -> PackedMatrix | None:
    """A matrix for the compiled products; None where there is no library, or it is on a GPU."""
    if values.device.type != "cpu" or (found := library()) is None:
        return None
    return PackedMatrix(found, values, scales, bias)


def aligned(size: int) -> Tensor:
    """Memory of so many bytes whose address is a multiple of 64, a line of the cache."""
    memory = torch.zeros(size + 64, dtype=torch.uint8)
    start = -memory.data_ptr() % 64
    return memory[start : start + size]


def address(x: Tensor | None) -> int | None:
    """Where a contiguous tensor's numbers are."""
    assert x is None or x.is_contiguous(), "compiled code reads contiguous tensors"
    return None if x is None else x.data_ptr()


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code; None where it cannot be built, which is logged once."""
    found = compiled("single sentences", SOURCES / "step.c", tuple(sorted(SOURCES.glob("*.[ch]"))))
    if found is None:
        return None
    declare(found)
    return found


def declare(found: ctypes.CDLL) -> None:
    """The types of the library's functions."""
    found.nmt_packed_bytes.argtypes = [c_int64, c_int64, c_int64]
    found.nmt_pack.argtypes = [POINTER(MatrixStruct), c_void_p]
    model, numbers = POINTER(ModelStruct), POINTER(c_int64)
    found.nmt_encode.argtypes = [model, numbers, numbers, c_int64, POINTER(c_void_p), c_int64]
    found.nmt_room_bytes.argtypes = [model, c_int64]
    found.nmt_state_bytes.argtypes = [model]
    found.nmt_start.argtypes = [model, POINTER(SentenceStruct)]
    addresses = POINTER(c_void_p)
    found.nmt_step.argtypes = [model, addresses, c_int64, c_void_p, c_int64, numbers]
    found.nmt_pack.restype = found.nmt_start.restype = None
    for name in ("packed_bytes", "encode", "room_bytes", "state_bytes", "step"):
        getattr(found, f"nmt_{name}").restype = c_int64
