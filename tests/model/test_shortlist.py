from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nmt.errors import ModelFolderError
from nmt.model.shortlist import NONE, SHORTLIST, Shortlist

V = 12
SPECIAL = {0, 1, 2, 3}


@pytest.fixture
def shortlist() -> Shortlist:
    candidates = torch.full((V, 2), NONE, dtype=torch.int32)
    candidates[5] = torch.tensor([7, 8])
    candidates[6, 0] = 9
    return Shortlist(candidates, torch.tensor([4], dtype=torch.int32))


def test_pieces_that_a_sentence_may_have(shortlist: Shortlist) -> None:
    allowed = shortlist.allowed([[5, 6], [6, 6], [], [10]])
    pieces = [set(row.nonzero()[:, 0].tolist()) for row in allowed]
    assert pieces == [
        SPECIAL | {4, 5, 6, 7, 8, 9},
        SPECIAL | {4, 6, 9},
        SPECIAL | {4},
        SPECIAL | {4, 10},
    ]


def test_what_was_saved_is_read(shortlist: Shortlist, tmp_path: Path) -> None:
    assert Shortlist.load(tmp_path, V) is None
    shortlist.save(tmp_path)
    stored = Shortlist.load(tmp_path, V)
    assert stored is not None
    assert torch.equal(stored.candidates, shortlist.candidates)
    assert torch.equal(stored.always, shortlist.always)


@pytest.mark.parametrize("wrong", [V, -2])
def test_one_for_another_vocabulary_is_refused(
    shortlist: Shortlist, tmp_path: Path, wrong: int
) -> None:
    shortlist.save(tmp_path)
    with pytest.raises(ModelFolderError, match=r"shortlist.safetensors` must be for 13 tokens"):
        Shortlist.load(tmp_path, V + 1)
    shortlist.candidates[5, 1] = wrong
    shortlist.save(tmp_path)
    with pytest.raises(
        ModelFolderError, match=r"must be for 12 tokens, as the model is, but is not"
    ):
        Shortlist.load(tmp_path, V)


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / SHORTLIST).write_bytes(b"nothing")
    with pytest.raises(ModelFolderError, match=r"must hold a shortlist, but is damaged"):
        Shortlist.load(tmp_path, V)
    save_file({"candidates": torch.zeros(V, 2)}, tmp_path / SHORTLIST)
    with pytest.raises(ModelFolderError, match=r"must hold a shortlist, but is damaged"):
        Shortlist.load(tmp_path, V)
