from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.model.batch import BOS, EOS, PAD, Batch, length_mask, pad


def rows(*lists: list[int]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.uint16) for row in lists]


def test_from_rows_adds_the_special_pieces_and_pads() -> None:
    batch = Batch.from_rows(rows([7, 8], [9]), rows([5], [4, 5, 6]))
    assert batch.source.tolist() == [[7, 8, EOS], [9, EOS, PAD]]
    assert batch.source_lengths.tolist() == [3, 2]
    assert batch.target_input.tolist() == [[BOS, 5, PAD, PAD], [BOS, 4, 5, 6]]
    assert batch.target_output.tolist() == [[5, EOS, PAD, PAD], [4, 5, 6, EOS]]
    assert batch.target_lengths.tolist() == [2, 4]
    assert (batch.rows, batch.tokens, batch.first_row) == (2, 6, 0)
    assert batch.global_shape == (2, 3, 4)


def test_an_empty_sentence_is_its_end() -> None:
    batch = Batch.from_rows(rows([]), rows([]))
    assert batch.source.tolist() == [[EOS]]
    assert batch.target_input.tolist() == [[BOS]]
    assert batch.target_output.tolist() == [[EOS]]


def test_the_target_index_names_the_tokens_of_whatever_is_left() -> None:
    batch = Batch.from_rows(rows([7, 8], [9]), rows([5], [4, 5, 6]))
    assert batch.target_index.tolist() == [0, 1, 4, 5, 6, 7]
    assert batch.target_output.flatten()[batch.target_index].tolist() == [5, EOS, 4, 5, 6, EOS]
    assert batch.target_steps(1, 3).target_index.tolist() == [0, 2, 3]
    assert batch.source_steps(1, 3).target_index.tolist() == batch.target_index.tolist()
    assert [piece.target_index.tolist() for piece in batch.split(2)] == [[0, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize("pieces", [1, 2, 3, 4])
def test_cut_keeps_every_row(random_batch: Callable[..., Batch], pieces: int) -> None:
    batch = random_batch()
    parts = batch.split(pieces)
    assert len(parts) == pieces
    assert sum(part.rows for part in parts) == batch.rows
    assert max(part.rows for part in parts) - min(part.rows for part in parts) <= 1
    assert sum(part.tokens for part in parts) == batch.tokens
    row = 0
    for part in parts:
        assert part.first_row == row
        assert part.global_shape == batch.global_shape
        assert part.source.shape[1] == int(part.source_lengths.max())
        assert part.target_input.shape == part.target_output.shape
        assert part.target_input.shape[1] == int(part.target_lengths.max())
        for i in range(part.rows):
            S, T = int(part.source_lengths[i]), int(part.target_lengths[i])
            assert torch.equal(part.source[i, :S], batch.source[row, :S])
            assert torch.equal(part.target_input[i, :T], batch.target_input[row, :T])
            assert torch.equal(part.target_output[i, :T], batch.target_output[row, :T])
            row += 1


def test_a_cut_piece_can_be_cut_again(random_batch: Callable[..., Batch]) -> None:
    halves = random_batch().split(2)
    assert [piece.first_row for half in halves for piece in half.split(2)] == [0, 1, 2, 3]


def test_cutting_copies_nothing(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch()
    storage = batch.source.untyped_storage().data_ptr()
    assert all(part.source.untyped_storage().data_ptr() == storage for part in batch.split(2))


@dataclass(frozen=True)
class _Tagged(Batch):
    """A batch with fields that `Batch` does not know: one for each sentence, and one for all."""

    tag: Tensor | None = None  # (B,)
    origin: str = ""


def test_fields_that_were_added_are_divided_with_the_others(
    random_batch: Callable[..., Batch],
) -> None:
    values = {field.name: getattr(random_batch(), field.name) for field in fields(Batch)}
    batch = _Tagged(**values, tag=torch.arange(4), origin="news")
    first, second = batch.target_steps(0, 2).split(2)
    assert isinstance(first, _Tagged)
    assert isinstance(second, _Tagged)
    assert first.tag is not None
    assert second.tag is not None
    assert (first.tag.tolist(), second.tag.tolist()) == ([0, 1], [2, 3])
    moved = second.to("cpu")
    assert isinstance(moved, _Tagged)
    assert moved.origin == first.origin == "news"
    assert second.target_steps(1, 2).split(2)[1].first_step == 1
    assert second.target_index.tolist() == [0, 1, 2, 3]


def test_more_pieces_than_rows_is_our_mistake(random_batch: Callable[..., Batch]) -> None:
    with pytest.raises(AssertionError, match="a part has no rows"):
        random_batch().split(5)


def test_a_field_by_name(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch()
    assert batch.field("source_lengths") is batch.source_lengths
    with pytest.raises(AssertionError, match="first_row"):
        batch.field("first_row")


def test_to_keeps_everything(random_batch: Callable[..., Batch]) -> None:
    piece = random_batch().split(2)[1]
    moved = piece.to("cpu")
    assert (moved.first_row, moved.global_shape) == (piece.first_row, piece.global_shape)
    assert torch.equal(moved.target_output, piece.target_output)


def test_pad_and_mask() -> None:
    ids, lengths = pad([[4, 5, 6], [], [7]])
    assert ids.tolist() == [[4, 5, 6], [0, 0, 0], [7, 0, 0]]
    assert lengths.tolist() == [3, 0, 1]
    assert length_mask(lengths, 3).tolist() == [[True] * 3, [False] * 3, [True, False, False]]
