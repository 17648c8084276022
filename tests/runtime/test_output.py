"""Embeddings and the output layer in decoding against the graph's own."""

import pytest
import torch

from nmt.model.context import EVALUATION
from nmt.model.embedding import Embedding
from nmt.model.output import Output
from nmt.precision.formats import FloatFormat, Format, Int8Format
from nmt.precision.int8 import has_int8
from nmt.runtime.embedding import EmbeddingRows
from nmt.runtime.output import MULTIPLE, OutputStep
from nmt.runtime.packing import Packing
from nmt.runtime.state import Sources
from tests.runtime.layers import LENGTHS, NO_SOURCES, B, S, assert_same_tokens, packed, random_layer

H, V, K = 6, 600, 2
FORMATS: list[tuple[Format, float]] = [
    (FloatFormat(torch.float32), 1e-5),
    (FloatFormat(torch.bfloat16), 0.05),
]
FORMATS += [(Int8Format(), 0.06)] if has_int8() else []


def output_layer(clipped: bool = False) -> Output:
    torch.manual_seed(0)
    layer = random_layer(Output("output", H, V, 0.1, clipped))
    assert isinstance(layer, Output)
    return layer


def logits_of(layer: Output, vectors: list[torch.Tensor]) -> torch.Tensor:
    index = torch.arange(len(vectors[0]))
    logits: torch.Tensor = layer([*(x[:, None] for x in vectors), index], (), EVALUATION).value
    return logits


@pytest.mark.parametrize(("number_format", "tolerance"), FORMATS)
def test_an_embedding_is_the_same_on_both_sides(number_format: Format, tolerance: float) -> None:
    torch.manual_seed(0)
    layer = random_layer(Embedding("embedding", V, H, 0.1, 1))
    assert isinstance(layer, Embedding)
    ids = torch.randint(V, (B, S))
    rows = EmbeddingRows(layer, number_format, [])
    assert rows.bound == pytest.approx(float(layer.weight.abs().max()) * H**0.5)
    found = rows.encode([packed(ids)], Packing.of(LENGTHS))
    expected = layer([ids], (), EVALUATION).value
    assert_same_tokens(number_format.decode(found, rows.bound).float(), expected, tolerance)
    step, state, attention = rows.step([ids[:, 0]], (), NO_SOURCES)
    assert (state, attention) == ((), None)
    decoded = number_format.decode(step, rows.bound).float()
    torch.testing.assert_close(decoded, expected[:, 0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("number_format", "tolerance"), FORMATS)
def test_logits_are_those_of_the_graph(number_format: Format, tolerance: float, count: int) -> None:
    layer = output_layer()
    vectors = [torch.rand(B * K, H) * 2 - 1 for _ in range(count)]
    step = OutputStep(layer, number_format, [1.0] * count)
    codes = [number_format.encode(x, 1.0) for x in vectors]
    logits, state, _ = step.step(codes, (), NO_SOURCES)
    assert state == ()
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, logits_of(layer, vectors), rtol=0, atol=count * tolerance)


def test_logits_stay_within_their_range() -> None:
    layer = output_layer(clipped=True)
    x = torch.full((2, H), 100.0)
    logits, _, _ = OutputStep(layer, FloatFormat(torch.float32), [100.0]).step([x], (), NO_SOURCES)
    assert float(logits.abs().max()) == 25.0
    torch.testing.assert_close(logits, logits_of(layer, [x]))


@pytest.mark.parametrize(("number_format", "tolerance"), FORMATS)
def test_narrowed_logits_are_those_of_the_allowed_tokens(
    number_format: Format, tolerance: float
) -> None:
    layer = output_layer()
    allowed = torch.zeros(B, V, dtype=torch.bool)
    for i in range(B):
        allowed[i, i * 3 : 150 * (i + 1) : i + 1] = True
    step = OutputStep(layer, number_format, [1.0])
    sources = step.narrowed(Sources({}, LENGTHS, S, allowed))
    words = sources.words
    assert words is not None
    assert len(words.ids) % MULTIPLE == 0
    assert set(allowed.any(0).nonzero().flatten().tolist()) <= set(words.ids.tolist())
    x = torch.rand(B * K, H) * 2 - 1
    codes = [number_format.encode(x, 1.0)]
    narrow, _, _ = step.step(codes, (), sources)
    whole, _, _ = step.step(codes, (), NO_SOURCES)
    for i in range(B):
        for row in range(i * K, (i + 1) * K):
            mine = allowed[i].nonzero().flatten()
            found = narrow[row, words.places[mine]]
            torch.testing.assert_close(found, whole[row, mine], rtol=0, atol=tolerance / 10)
            assert int(narrow[row].isfinite().sum()) == len(mine)


def test_the_second_copy_of_the_weights_can_be_freed() -> None:
    step = OutputStep(output_layer(), FloatFormat(torch.float32), [1.0])
    step.score_all()
    assert step.step([torch.zeros(2, H)], (), NO_SOURCES).value.shape == (2, V)
    with pytest.raises(AssertionError, match="they were not freed"):
        step.narrowed(Sources({}, LENGTHS, S, torch.ones(B, V, dtype=torch.bool)))
