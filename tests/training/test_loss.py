import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nmt.model.batch import PAD
from nmt.training.loss import SmoothedCrossEntropy

N, V = 7, 11


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rng = torch.manual_seed(0)
    logits = (3 * torch.randn(N, V, generator=rng, dtype=torch.float64)).to(dtype)
    labels = torch.randint(V, (N,), generator=rng)
    labels[3] = PAD  # counts for nothing
    return logits.requires_grad_(), labels


def reference_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return cross_entropy(
        logits, labels, label_smoothing=smoothing, reduction="sum", ignore_index=PAD
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_equals_pytorch_s_cross_entropy(dtype: torch.dtype, smoothing: float) -> None:
    logits, labels = data(dtype)
    reference = logits.detach().clone().requires_grad_()
    loss = SmoothedCrossEntropy(smoothing)(logits, labels)
    expected = reference_loss(reference, labels, smoothing)
    (loss / 3).backward()
    (expected / 3).backward()
    assert loss.dtype == dtype
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits.grad, reference.grad)


def test_gradients_equal_finite_differences() -> None:
    logits, labels = data(torch.float64)
    smoothed = SmoothedCrossEntropy(0.1)
    assert torch.autograd.gradcheck(lambda x: smoothed(x, labels) * 2, (logits,))


def test_bf16_is_summed_in_fp32() -> None:
    logits, labels = data(torch.bfloat16)
    loss = SmoothedCrossEntropy(0.1)(logits, labels)
    assert loss.dtype == torch.float32
    expected = reference_loss(logits.float(), labels, 0.1)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_the_logits_stay_as_they_are() -> None:
    logits, labels = data(torch.float64)
    before = logits.detach().clone()
    SmoothedCrossEntropy(0.1)(logits, labels).backward()
    assert torch.equal(logits, before)


def test_without_gradients() -> None:
    logits, labels = data(torch.float64)
    with torch.no_grad():
        loss = SmoothedCrossEntropy(0.1)(logits, labels)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, SmoothedCrossEntropy(0.1)(logits, labels).detach())


def test_extreme_logits_are_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = SmoothedCrossEntropy(0.1)(logits, torch.tensor([1]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
