"""Scores of attention against v · tanh(q + k) in double precision."""

import pytest
import torch
from torch import Tensor

from nmt.kernels import attention as module
from nmt.kernels.attention import StepScores, additive_scores


def drawn(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64) * scale


def exact(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    return torch.tanh(queries[:, :, None] + keys[:, None]) @ weight[0]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 5, 8), (2, 1, 7, 3)])  # B, T, S, A
def test_training(shape: tuple[int, int, int, int]) -> None:
    B, T, S, A = shape
    queries, keys, weight = drawn(B, T, A), drawn(B, S, A), drawn(1, A)
    expected = exact(queries, keys, weight)
    torch.testing.assert_close(additive_scores(queries, keys, weight), expected)
    found = additive_scores(queries.float(), keys.float(), weight.float())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 4, 8), (4, 1, 9, 6), (2, 2, 1, 3)])
def test_a_step_differs_by_a_constant(shape: tuple[int, int, int, int], scale: float) -> None:
    B, K, S, A = shape
    queries, keys, weight = drawn(B, K, A, scale=scale), drawn(B, S, A, scale=scale), drawn(1, A)
    step = StepScores(weight.float())
    prepared = step.keys(keys.float())
    assert prepared.dtype == torch.float32
    found = step(queries.float().view(B * K, A), prepared).double()
    assert found.shape == (B, K, S)
    constant = weight.sum() + found - exact(queries, keys, weight)
    torch.testing.assert_close(constant, torch.zeros(B, K, S).double(), rtol=0, atol=2e-5)


def test_a_batch_in_parts_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    B, K, S, A = 7, 2, 5, 4
    queries, keys = torch.randn(B * K, A), torch.randn(B, S, A)
    step = StepScores(torch.randn(1, A))
    whole = step(queries, step.keys(keys))
    for sentences in (1, 3):  # 7 is a multiple of neither, or of one alone
        monkeypatch.setattr(module, "ENERGIES", sentences * K * S * A)
        torch.testing.assert_close(step(queries, step.keys(keys)), whole)


def test_large_numbers_stay_finite() -> None:
    step = StepScores(torch.ones(1, 2))
    keys = step.keys(torch.tensor([[[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]]]))
    scores = step(torch.tensor([[1e4, 1e4], [-1e4, -1e4]]), keys)
    assert scores.isfinite().all()
    torch.testing.assert_close(scores[0], torch.tensor([[-1.0, -1, 0], [-3, -3, -4]]))


def test_low_precision_is_scored_in_fp32() -> None:
    queries, keys, weight = drawn(2, 3, 6), drawn(2, 4, 6), drawn(1, 6)
    step = StepScores(weight.bfloat16())
    low = step(queries.bfloat16().view(6, 6), step.keys(keys.bfloat16()))
    assert low.dtype == torch.float32
    rounded = [x.bfloat16().double() for x in (queries, keys, weight)]
    expected = exact(*rounded) - rounded[2].sum()
    torch.testing.assert_close(low.double(), expected, rtol=0, atol=1e-4)
