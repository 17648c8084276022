from collections.abc import Callable

import pytest
import torch

from nmt.config import GnmtConfig
from nmt.model.batch import Batch
from nmt.model.build import build_graph
from nmt.model.context import EVALUATION, ForwardContext
from nmt.model.dropout import (
    Randomness,
    _uniform_int16,
    stable_seed,
)

SHAPE = (4, 5, 6)
LIKE = torch.zeros(())


def test_seeds_are_the_same_everywhere() -> None:
    assert stable_seed(1, "encoder.0") == 7967370830100065580
    assert stable_seed(1, 2) != stable_seed(12)
    assert 0 <= stable_seed("x") < 2**63


def test_a_mask_follows_from_seed_step_and_name_alone() -> None:
    mask = Randomness(1, 7).mask("a", SHAPE, 0.5, LIKE)
    assert torch.equal(Randomness(1, 7).mask("a", SHAPE, 0.5, LIKE), mask)
    assert not torch.equal(Randomness(2, 7).mask("a", SHAPE, 0.5, LIKE), mask)
    assert not torch.equal(Randomness(1, 8).mask("a", SHAPE, 0.5, LIKE), mask)
    assert not torch.equal(Randomness(1, 7).mask("b", SHAPE, 0.5, LIKE), mask)


def test_masks_do_not_touch_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Randomness(1).mask("a", SHAPE, 0.5, LIKE)
    assert torch.equal(torch.rand(3), expected)


def test_begin_step_forgets_the_masks() -> None:
    randomness = Randomness(1)
    first = randomness.mask("a", SHAPE, 0.5, LIKE)
    assert randomness.mask("a", SHAPE, 0.5, LIKE) is first
    randomness.begin_step(1)
    assert torch.equal(
        randomness.mask("a", SHAPE, 0.5, LIKE), Randomness(1, 1).mask("a", SHAPE, 0.5, LIKE)
    )


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_a_mask_keeps_the_mean(rate: float) -> None:
    count = 200_000
    mask = Randomness(3).mask("a", (count,), rate, LIKE)
    kept = mask != 0
    torch.testing.assert_close(mask[kept], torch.full((int(kept.sum()),), 1 / (1 - rate)))
    sigma = (rate * (1 - rate) / count) ** 0.5
    assert abs(float((~kept).double().mean()) - rate) < 4 * sigma + 2**-17


def test_four_uniform_numbers_from_each_draw() -> None:
    count = 2**18
    values = _uniform_int16((count,), torch.Generator().manual_seed(0)).double()
    assert -(2**15) <= values.min() < -(2**15) + 50
    assert 2**15 - 50 < values.max() <= 2**15 - 1
    sigma = (2**16) / 12**0.5
    assert abs(values.mean() + 0.5) < 4 * sigma / count**0.5
    assert abs(values.std() / sigma - 1) < 0.01
    # Each of the four parts of a word, and each pair of neighbours, on its own.
    parts = values.view(-1, 4)
    assert (parts.mean(0).abs() < 4 * sigma / len(parts) ** 0.5).all()
    correlations = torch.corrcoef(parts.T) - torch.eye(4)
    assert correlations.abs().max() < 4 / len(parts) ** 0.5
    buckets = torch.histc(values, 64, -(2**15), 2**15)
    expected = count / 64
    assert ((buckets - expected).abs() < 4.5 * expected**0.5).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_any_number_of_elements(count: int) -> None:
    assert _uniform_int16((count, 1), torch.Generator().manual_seed(0)).shape == (count, 1)


@pytest.mark.parametrize("time", [1, 2])
def test_a_piece_drops_what_the_whole_drops(time: int) -> None:
    shape = (8, 5, 7)
    x = torch.ones(8, shape[time], 3)
    whole = ForwardContext(0, shape, Randomness(1)).drop(x, "a", 0.5, time)
    for first, rows, steps in [(0, 8, 5), (2, 3, 4), (7, 1, 1)]:
        piece = ForwardContext(first, shape, Randomness(1))
        dropped = piece.drop(x[first : first + rows, :steps], "a", 0.5, time)
        assert torch.equal(dropped, whole[first : first + rows, :steps])


def test_whole_positions() -> None:
    x = torch.ones(8, 5, 3)
    dropped = ForwardContext(0, (8, 5, 7), Randomness(1)).drop(x, "a", 0.5, 1, whole=True)
    assert (dropped == dropped[..., :1]).all()
    assert 0 < float((dropped == 0).float().mean()) < 1


def test_nothing_is_dropped_outside_training_or_at_rate_0() -> None:
    x = torch.ones(2, 3, 4)
    assert EVALUATION.drop(x, "a", 0.5, 1) is x
    assert ForwardContext(0, (2, 3, 3), Randomness(1)).drop(x, "a", 0.0, 1) is x


@pytest.mark.parametrize("pieces", [2, 4])
def test_a_cut_batch_has_the_logits_of_the_whole(
    model_config: Callable[..., GnmtConfig], random_batch: Callable[..., Batch], pieces: int
) -> None:
    graph = build_graph(model_config(dropout=0.3, embedding_dropout=0.2), 20)
    stack = graph.build(graph.names, seed=1, dtype=torch.float64)
    batch = random_batch()
    whole = stack(batch, ForwardContext.of(batch, Randomness(5), 1.0))
    randomness = Randomness(5)
    parts = [stack(part, ForwardContext.of(part, randomness, 1.0)) for part in batch.split(pieces)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.allclose(stack(batch, EVALUATION), whole)


def test_each_layer_drops_with_a_mask_of_its_own(
    model_config: Callable[..., GnmtConfig], random_batch: Callable[..., Batch]
) -> None:
    graph = build_graph(model_config(dropout=0.3, embedding_dropout=0.2), 20)
    batch, randomness = random_batch(), Randomness(5)
    graph.build(graph.names, seed=1)(batch, ForwardContext.of(batch, randomness, 1.0))
    lstms = [name for name in graph.names if name.startswith(("encoder", "decoder"))]
    words = ["source_embedding/words", "target_embedding/words"]
    assert {key[0] for key in randomness._masks} == {*lstms, *words, "output"}
