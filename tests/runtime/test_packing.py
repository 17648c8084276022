import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from nmt.model.batch import length_mask
from nmt.runtime.packing import Packing


@pytest.mark.parametrize("lengths", [[3], [1, 1], [2, 5, 1, 5, 3], [4, 4, 4]])
def test_tokens_stand_as_in_a_packed_sequence(lengths: list[int]) -> None:
    n = torch.tensor(lengths)
    B, S = len(lengths), max(lengths)
    x = torch.randn(B, S, 2)
    packing = Packing.of(n)
    order = n.argsort(descending=True, stable=True)
    expected = pack_padded_sequence(x[order], n[order], batch_first=True)
    assert packing.rows == expected.batch_sizes.tolist()
    packed = packing.pack(x)
    assert torch.equal(packed, expected.data)
    padded = packing.pad(packed)
    mask = length_mask(n, S)
    assert torch.equal(padded[mask], x[mask])
    assert not padded[~mask].any()


def test_mirrored_tokens() -> None:
    lengths = torch.tensor([2, 4, 1])
    tokens = torch.tensor([[1, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]])
    packing = Packing.of(lengths)
    turned = packing.pad(packing.pack(tokens)[packing.mirrored])
    assert turned.tolist() == [[2, 1, 0, 0], [6, 5, 4, 3], [7, 0, 0, 0]]
