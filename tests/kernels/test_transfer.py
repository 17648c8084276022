"""Moving batches, and the rows of products on a GPU."""

import pytest
import torch

from nmt.kernels import transfer
from nmt.kernels.transfer import moved, rounded_up_rows, usual_rows

CPU = torch.device("cpu")


def test_what_is_there_is_not_copied() -> None:
    x = torch.arange(3)
    assert moved(x, CPU) is x


def test_the_number_of_rows_is_a_multiple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MULTIPLE", 4)
    index = torch.tensor([0, 1, 2, 5, 6])
    assert rounded_up_rows(index, 10).tolist() == [0, 1, 2, 5, 6, 3, 4, 7]
    assert rounded_up_rows(index, 7).tolist() == [0, 1, 2, 5, 6, 3, 4]  # there are no more
    assert rounded_up_rows(torch.arange(8), 10).tolist() == list(range(8))


def test_only_rows_for_a_gpu_are_rounded_up() -> None:
    index = torch.tensor([0, 2])
    assert usual_rows(index, 10, CPU) is index
    assert usual_rows(index, 10, torch.device("cuda")).tolist() == [0, 2, 1, *range(3, 10)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_there_and_back() -> None:
    x = torch.arange(12).view(3, 4)[:, 1:]
    there = moved(x, torch.device("cuda:0"))
    assert there.is_cuda
    assert torch.equal(moved(there, CPU), x)
