"""Attention in decoding against the graph's own."""

import pytest
import torch

from nmt.model.attention import Attention, AttentionKeys
from nmt.model.batch import length_mask
from nmt.model.context import EVALUATION
from nmt.precision.formats import FloatFormat, Int8Format
from nmt.precision.int8 import has_int8
from nmt.runtime.attention import AttentionStep, KeysProduct
from nmt.runtime.layer import NOT_CODED
from nmt.runtime.packing import Packing, Padding
from nmt.runtime.state import Memory, Sources
from tests.runtime.layers import LENGTHS, B, S, assert_same_tokens, packed, random_layer

H, A, K = 6, 5, 3
FP32 = FloatFormat(torch.float32)


def layers() -> tuple[AttentionKeys, Attention]:
    torch.manual_seed(0)
    keys = random_layer(AttentionKeys("keys", H, A))
    attention = random_layer(Attention("attention", H, A))
    assert isinstance(keys, AttentionKeys)
    assert isinstance(attention, Attention)
    return keys, attention


def sources(memory: Memory) -> Sources:
    return Sources({"attention": memory}, LENGTHS, S)


def test_keys() -> None:
    keys, _ = layers()
    x = torch.randn(B, S, H)
    runtime = KeysProduct(keys, FP32, [1.0])
    assert runtime.bound == NOT_CODED
    found = runtime.encode([packed(x)], Packing.of(LENGTHS))
    assert_same_tokens(found, keys([x], (), EVALUATION).value)


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 1000.0])
def test_a_step(scale: float, is_packed: bool) -> None:
    _, layer = layers()
    queries, keys = torch.randn(B * K, H) * scale, torch.randn(B, S, A) * scale
    memory = torch.randn(B, S, H)
    step = AttentionStep(layer, FP32, [scale, NOT_CODED, 4.0])
    assert step.bound == 4.0
    if is_packed:
        kept = step.remember([packed(keys), packed(memory)], Packing.of(LENGTHS))
    else:
        kept = step.remember([keys, memory], Padding(LENGTHS, S))
    context, state, weights = step.step([queries], (), sources(kept))
    assert state == ()
    assert weights is not None
    mask = length_mask(LENGTHS, S)
    expected = layer.weights(queries.view(B, K, H), keys, mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, K))
    assert not weights.masked_select(~mask[:, None].expand_as(weights)).any()
    if scale < 100:  # beyond 43, which LSTMs do not reach, the sum of two is not exact
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-5)
        value = layer([queries.view(B, K, H), keys, memory, LENGTHS], (), EVALUATION).value
        torch.testing.assert_close(context.view(B, K, H), value, rtol=0, atol=1e-4)


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_decodes_its_memory_once() -> None:
    _, layer = layers()
    int8, memory = Int8Format(), torch.rand(B, S, H) * 4 - 2
    queries, keys = torch.rand(B * K, H) * 2 - 1, torch.randn(B, S, A)
    step = AttentionStep(layer, int8, [1.0, NOT_CODED, 2.0])
    kept = step.remember([packed(keys), packed(int8.encode(memory, 2.0))], Packing.of(LENGTHS))
    assert kept.values.dtype == torch.float32
    context, _, weights = step.step([int8.encode(queries, 1.0)], (), sources(kept))
    assert weights is not None
    assert context.dtype == torch.uint8
    expected = layer.weights(queries.view(B, K, H), keys, length_mask(LENGTHS, S))
    torch.testing.assert_close(weights, expected, rtol=0, atol=0.02)
    value = torch.bmm(expected, memory).flatten(0, 1)
    torch.testing.assert_close(int8.decode(context, 2.0), value, rtol=0, atol=0.05)
