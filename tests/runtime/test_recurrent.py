"""Recurrent layers in decoding against the graph's own pass, on both sides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nmt.model.clip import Clip
from nmt.model.context import EVALUATION
from nmt.model.gru import GruLayer
from nmt.model.lstm import LstmLayer
from nmt.model.recurrent import RecurrentLayer
from nmt.precision.formats import FloatFormat, Int8Format
from nmt.precision.int8 import has_int8
from nmt.runtime.kinds import SOURCE_LAYERS, TARGET_LAYERS
from nmt.runtime.packing import Packing
from tests.runtime.layers import (
    LENGTHS,
    NO_SOURCES,
    B,
    S,
    assert_same_tokens,
    packed,
    random_layer,
)

H = 8
FP32 = FloatFormat(torch.float32)
CELLS = [LstmLayer, GruLayer]
needs_int8 = pytest.mark.skipif(not has_int8(), reason="the processor has no int8 instructions")


def make(
    cell: type[RecurrentLayer],
    inputs: int = 1,
    residuals: int = 0,
    clip: Clip | None = None,
    reverse: bool = False,
) -> RecurrentLayer:
    torch.manual_seed(1)
    layer = random_layer(cell("layer", H * inputs, H, 0.1, residuals, 1, clip, reverse))
    assert isinstance(layer, cell)
    return layer


def vectors(count: int) -> list[Tensor]:
    """Inputs (B, S, H) within 1."""
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(B, S, H, generator=generator) * 2 - 1 for _ in range(count)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("inputs", "residuals"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_source_side_layer(
    cell: type[RecurrentLayer], inputs: int, residuals: int, reverse: bool
) -> None:
    layer, x = make(cell, inputs, residuals, reverse=reverse), vectors(inputs)
    expected = layer([*x, *([LENGTHS] if reverse else [])], (), EVALUATION).value
    runtime = SOURCE_LAYERS[cell](layer, FP32, [1.0] * inputs)
    assert runtime.bound == 1 + residuals
    assert_same_tokens(runtime.encode([packed(one) for one in x], Packing.of(LENGTHS)), expected)


@pytest.mark.parametrize(("inputs", "residuals"), [(1, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_target_side_layer(cell: type[RecurrentLayer], inputs: int, residuals: int) -> None:
    layer, x = make(cell, inputs, residuals), vectors(inputs)
    expected, last, _ = layer(x, (), EVALUATION)
    runtime = TARGET_LAYERS[cell](layer, FP32, [1.0] * inputs)
    state = runtime.start(B)
    assert all(s.shape == (B, H) and not s.any() for s in state)
    for t in range(S):
        value, state, attention = runtime.step([one[:, t] for one in x], state, NO_SOURCES)
        assert attention is None
        torch.testing.assert_close(value, expected[:, t], rtol=0, atol=1e-5)
    for ours, theirs in zip(state, last, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


RANGES = [
    (LstmLayer, Clip.fixed(0.4)),
    (LstmLayer, Clip.fixed(0.2, cells=True)),
    (GruLayer, Clip.fixed(0.4)),
]


@pytest.mark.parametrize(("cell", "clip"), RANGES)
@pytest.mark.parametrize("residuals", [0, 1])
def test_ranges(cell: type[RecurrentLayer], residuals: int, clip: Clip) -> None:
    layer, x = make(cell, residuals=residuals, clip=clip), vectors(1)
    expected = layer(x, (), EVALUATION).value
    free = make(cell, residuals=residuals)(x, (), EVALUATION).value
    assert torch.allclose(expected, free) == (not residuals and clip.cells_from is None)
    scan = SOURCE_LAYERS[cell](layer, FP32, [1.0])
    assert scan.bound == (clip.bound if residuals else 1.0)
    assert_same_tokens(scan.encode([packed(x[0])], Packing.of(LENGTHS)), expected)
    step = TARGET_LAYERS[cell](layer, FP32, [1.0])
    state = step.start(B)
    for t in range(S):
        value, state, _ = step.step([x[0][:, t]], state, NO_SOURCES)
        torch.testing.assert_close(value, expected[:, t], rtol=0, atol=1e-5)


@needs_int8
@pytest.mark.parametrize("residuals", [0, 1])
@pytest.mark.parametrize("cell", CELLS)
def test_int8_is_close(cell: type[RecurrentLayer], residuals: int) -> None:
    layer, x = make(cell, 2, residuals), vectors(2)
    expected = layer(x, (), EVALUATION).value
    int8 = Int8Format()
    codes = [int8.encode(one, 1.0) for one in x]
    scan = SOURCE_LAYERS[cell](layer, int8, [1.0, 1.0])
    found = scan.encode([packed(one) for one in codes], Packing.of(LENGTHS))
    assert found.dtype == torch.uint8
    assert_same_tokens(int8.decode(found, scan.bound), expected, 0.06)
    step = TARGET_LAYERS[cell](layer, int8, [1.0, 1.0])
    state = step.start(B)
    for t in range(S):
        value, state, _ = step.step([code[:, t] for code in codes], state, NO_SOURCES)
        difference = int8.decode(value, step.bound) - expected[:, t]
        assert 0 < float(difference.abs().max()) < 0.06


@pytest.mark.parametrize("cell", CELLS)
def test_bf16_is_close(cell: type[RecurrentLayer]) -> None:
    layer, x = make(cell, 1, 1), vectors(1)
    expected = layer(x, (), EVALUATION).value
    bf16 = FloatFormat(torch.bfloat16)
    scan = SOURCE_LAYERS[cell](layer, bf16, [1.0])
    found = scan.encode([packed(x[0].bfloat16())], Packing.of(LENGTHS))
    assert found.dtype == torch.bfloat16
    assert_same_tokens(found.float(), expected, 0.03)
    step = TARGET_LAYERS[cell](layer, bf16, [1.0])
    state = step.start(B)
    for t in range(S):
        value, state, _ = step.step([x[0][:, t].bfloat16()], state, NO_SOURCES)
        torch.testing.assert_close(value.float(), expected[:, t], rtol=0, atol=0.03)
    assert state[-1].dtype == torch.float32, "what is summed over time is not rounded"


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_leaves_the_state_before_it(cell: type[RecurrentLayer]) -> None:
    runtime = TARGET_LAYERS[cell](make(cell), FP32, [1.0])
    x = vectors(1)[0]
    _, state, _ = runtime.step([x[:, 0]], runtime.start(B), NO_SOURCES)
    before = [s.clone() for s in state]
    runtime.step([x[:, 1]], state, NO_SOURCES)
    assert all(torch.equal(s, b) for s, b in zip(state, before, strict=True))
