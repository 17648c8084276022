"""Kernels against PyTorch in double precision: on a GPU, or with TRITON_INTERPRET=1 without one."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="there is no Triton")
GPU = torch.cuda.is_available()
if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("there is no GPU", allow_module_level=True)

from nmt.decoding.beam import (  # noqa: E402 - as below
    BLOCK,
    NEVER,
    best_keys,
    candidates_of_keys,
)
from nmt.kernels import gpu as kernels  # noqa: E402 - it needs Triton
from nmt.kernels.lstm import lstm_cell  # noqa: E402
from nmt.model.batch import EOS, PAD  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"


def drawn(*shape: int, seed: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(*shape, generator=generator)
    return x.to(DEVICE, dtype).requires_grad_()


def error(found: Tensor | None, wanted: Tensor) -> float:
    assert found is not None
    assert found.isfinite().all()
    return float((found.detach().double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
@pytest.mark.parametrize("shape", [(3, 5, 7, 40), (2, 33, 17, 128), (1, 1, 1, 64), (2, 1, 20, 70)])
@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_additive_scores(
    shape: tuple[int, int, int, int], dtype: torch.dtype, bound: float, scale: float
) -> None:
    B, T, S, A = shape
    q = drawn(B, T, A, seed=1, dtype=dtype, scale=scale)
    k = drawn(B, S, A, seed=2, dtype=dtype, scale=scale)
    v = drawn(A, seed=3, dtype=dtype)
    weighing = torch.randn(B, T, S, generator=torch.Generator().manual_seed(4)).to(DEVICE)
    scores = kernels.additive_scores(q, k, v)
    assert scores.dtype == torch.float32
    (scores * weighing).sum().backward()
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    wanted = torch.tanh(exact[0][:, :, None] + exact[1][:, None]) @ exact[2]
    (wanted * weighing).sum().backward()
    assert error(scores, wanted.detach()) < 1e-5
    for x, y in zip((q, k, v), exact, strict=True):
        assert y.grad is not None
        assert error(x.grad, y.grad) < bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
@pytest.mark.parametrize("shape", [(1, 5), (7, 4096), (3, 9000)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_cross_entropy(
    shape: tuple[int, int], dtype: torch.dtype, bound: float, smoothing: float
) -> None:
    N, V = shape
    logits = drawn(N, V, seed=1, dtype=dtype, scale=5.0)
    labels = torch.arange(1, N + 1, device=DEVICE) * 37 % V
    labels[N // 2] = PAD  # does not count
    exact = logits.detach().double().requires_grad_()
    wanted = F.cross_entropy(
        exact, labels, reduction="sum", label_smoothing=smoothing, ignore_index=PAD
    )
    (3 * wanted).backward()
    assert exact.grad is not None
    loss = kernels.smoothed_cross_entropy(logits, labels, smoothing, PAD)
    (3 * loss).backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.dtype == dtype
    assert float((logits.grad.double() - exact.grad).norm()) <= bound * float(exact.grad.norm())


def test_no_tokens() -> None:
    empty = torch.zeros(0, 9, device=DEVICE, requires_grad=True)
    loss = kernels.smoothed_cross_entropy(empty, torch.zeros(0, dtype=torch.int64), 0.1, PAD)
    loss.backward()
    assert float(loss.detach()) == 0
    assert empty.grad is not None
    assert empty.grad.shape == (0, 9)


@pytest.mark.parametrize("vocabulary", [5, 31, 500, 5000])
@pytest.mark.parametrize("levels", [2, 30, 10_000])
@pytest.mark.parametrize("beams", [1, 4])
def test_best_keys(vocabulary: int, levels: int, beams: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    shape = (3, beams, vocabulary)
    logits = torch.randint(levels, shape, generator=generator).float() / 8  # few levels: many ties
    running = -torch.randint(3, (3, beams), generator=generator).float() / 8
    running[0, 1:] = NEVER
    banned = torch.tensor([4, 2 * vocabulary + 4])[:beams]
    wanted = candidates_of_keys(best_keys(logits.clone(), running, banned), vocabulary)
    count = min(1 if beams == 1 else 2 * beams, beams * vocabulary)
    given = (logits.to(DEVICE), running.to(DEVICE), banned.to(DEVICE))
    keys = kernels.best_keys(*given, EOS, BLOCK, count).cpu()
    assert (keys == keys.sort(1).values).all()
    found = candidates_of_keys(keys, vocabulary)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.beams, wanted.beams)
    assert torch.equal(found.pieces, wanted.pieces)


@pytest.mark.parametrize("bound", [None, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lstm_cell(dtype: torch.dtype, bound: float | None) -> None:
    gates, c = drawn(5, 4 * 300, seed=1, dtype=dtype), drawn(5, 300, seed=2, dtype=torch.float32)
    gates, c = gates.detach(), c.detach()
    wanted_h, wanted_c = lstm_cell(gates.clone().float(), c, bound)
    h, code, next_c = kernels.lstm_cell(gates, c, bound, dtype)
    torch.testing.assert_close(h, wanted_h)
    torch.testing.assert_close(next_c, wanted_c)
    assert code.dtype == dtype
    torch.testing.assert_close(code, h.to(dtype), rtol=0.01, atol=1e-6)
