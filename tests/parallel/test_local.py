"""The reference executor: micro-batches change nothing, and a run resumes exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.config import GnmtConfig
from nmt.model.batch import Batch
from nmt.model.clip import Clip
from nmt.model.context import EVALUATION
from nmt.model.gnmt import gnmt
from nmt.parallel.executor import TrainingRecipe
from nmt.parallel.local import LocalExecutor, clip_gradients
from nmt.training.loss import SmoothedCrossEntropy

VOCABULARY = 30


def executor(
    micro_batches: int = 1,
    dtype: torch.dtype = torch.float32,
    dropout: float = 0.2,
    clip_norm: float | None = 0.05,
    bounds: Clip | None = None,
    device: str = "cpu",
) -> LocalExecutor:
    model = GnmtConfig.model_validate(
        {
            "name": "tiny",
            "architecture": "gnmt",
            "cell": "lstm",
            "encoder_layers": 2,
            "decoder_layers": 2,
            "hidden_size": 8,
            "dropout": dropout,
            "embedding_dropout": dropout / 2,
            "residual": "full",
            "bidirectional_layers": 1,
            "context": "all",
            "normalisation": "none",
            "attention": "additive",
            "attention_heads": 1,
            "tie": "all",
        }
    )
    recipe = TrainingRecipe(
        graph=gnmt(model, VOCABULARY, bounds),
        seed=1,
        loss=SmoothedCrossEntropy(0.1),
        validation_loss=SmoothedCrossEntropy(0.0),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1.0, fused=True),
        clip_norm=clip_norm,
        dtype=dtype,
    )
    return LocalExecutor(recipe, device, micro_batches)


def batch_of(seed: int, rows: int = 11) -> Batch:
    draw = np.random.default_rng(seed)

    def sentences() -> list[np.ndarray]:
        return [draw.integers(4, VOCABULARY, draw.integers(1, 9)) for _ in range(rows)]

    return Batch.from_rows(sentences(), sentences())


def copied(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-12)], ids=["fp32", "fp64"]
)
def test_micro_batches_change_nothing(dtype: torch.dtype, bound: float, dropout: float) -> None:
    # fp32 gradients that nearly cancel out (attention.bias) lose digits by another order of sums.
    whole = executor(1, dtype, dropout)
    wanted = whole.train_step(batch_of(0), 0, 0.01)
    for micro_batches in (2, 8):
        split = executor(micro_batches, dtype, dropout)
        result = split.train_step(batch_of(0), 0, 0.01)
        assert result.tokens == wanted.tokens == batch_of(0).tokens
        assert result.loss == pytest.approx(wanted.loss, rel=bound)
        assert result.gradient_norm == pytest.approx(wanted.gradient_norm, rel=bound)
        gradients = split.gather_gradients()
        for name, gradient in whole.gather_gradients().items():
            assert (gradients[name] - gradient).norm() <= bound * gradient.norm(), name


def test_outputs_are_bounded_more_and_more() -> None:
    batch = batch_of(0)

    def loss(bounds: Clip | None, step: int) -> float:
        run = executor(2, torch.float64, dropout=0.0, bounds=bounds)
        return run.train_step(batch, step, 0.0).loss

    narrowing = Clip(bound=0.01, start=8.0, steps=10)
    for step, bound in ((0, 8.0), (5, 4.005), (10, 0.01), (20, 0.01)):
        assert loss(narrowing, step) == loss(Clip.fixed(bound), step)
    assert loss(narrowing, 0) == loss(None, 0)  # nothing reaches 8
    assert loss(narrowing, 10) != loss(None, 10)
    evaluated = executor(bounds=narrowing).validation_loss([batch])
    assert evaluated == executor(bounds=Clip.fixed(0.01)).validation_loss([batch])


def test_loss_and_gradients_are_the_mean_over_tokens() -> None:
    run = executor(3, torch.float64, dropout=0.0, clip_norm=None)
    batch = batch_of(0)
    with torch.no_grad():
        logits = run._stack(batch, EVALUATION)
    evaluated = float(SmoothedCrossEntropy(0.0)(logits, batch.labels))
    assert run.validation_loss([batch]) == pytest.approx(evaluated / batch.tokens, rel=1e-12)
    both = run.validation_loss([batch, batch_of(1, rows=2)])
    alone = run.validation_loss([batch_of(1, rows=2)])
    tokens = batch.tokens, batch_of(1, rows=2).tokens
    weighted = (evaluated + alone * tokens[1]) / sum(tokens)
    assert both == pytest.approx(weighted, rel=1e-12)


def test_gradients_are_clipped_after_their_norm_is_taken() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([parameter], 1.0)) == pytest.approx(5.0)
    assert parameter.grad.norm() == pytest.approx(1.0)
    assert float(clip_gradients([parameter], None)) == pytest.approx(1.0)
    assert float(clip_gradients([parameter], 10.0)) == pytest.approx(1.0)
    assert parameter.grad.norm() == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_run_resumes_bit_for_bit(dtype: torch.dtype) -> None:
    run = executor(2, dtype)
    for step in range(2):
        run.train_step(batch_of(step), step, 0.01)
    state = copied(run.state_dict())
    resumed = executor(2, dtype)
    resumed.train_step(batch_of(9), 0, 0.5)  # leaves a state that must be forgotten
    resumed.load_state_dict(state)
    for step in range(2, 4):
        wanted = run.train_step(batch_of(step), step, 0.01)
        result = resumed.train_step(batch_of(step), step, 0.01)
        assert (result.loss, result.gradient_norm) == (wanted.loss, wanted.gradient_norm)
    after = resumed.state_dict()
    assert after.keys() == run.state_dict().keys()
    assert all(torch.equal(after[key], value) for key, value in run.state_dict().items())


def test_the_state_of_a_fresh_run_replaces_an_old_one() -> None:
    fresh = copied(executor().state_dict())
    run, undisturbed = executor(), executor()
    run.train_step(batch_of(9), 0, 0.5)
    run.load_state_dict(fresh)
    results = [e.train_step(batch_of(0), 0, 0.01) for e in (run, undisturbed)]
    assert results[0].loss == results[1].loss
    after, wanted = run.state_dict(), undisturbed.state_dict()
    assert all(torch.equal(after[key], value) for key, value in wanted.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float64, 1e-9), (torch.float32, 1e-3), (torch.bfloat16, 0.02)],
    ids=["fp64", "fp32", "bf16"],
)
def test_a_gpu_computes_the_same(dtype: torch.dtype, bound: float) -> None:
    double = torch.float64 if dtype == torch.float64 else torch.float32
    here = executor(2, double, dropout=0.0)
    there = executor(2, dtype, dropout=0.0, device="cuda")
    results = []
    for step in range(3):  # looked at afterwards: a step does not wait for the one before
        wanted = here.train_step(batch_of(step), step, 0.001)
        results.append((there.train_step(batch_of(step), step, 0.001), wanted))
    for result, wanted in results:
        assert result.loss == pytest.approx(wanted.loss, rel=bound)
        assert result.gradient_norm == pytest.approx(wanted.gradient_norm, rel=5 * bound)
    assert there.validation_loss([batch_of(7)]) == pytest.approx(
        here.validation_loss([batch_of(7)]), rel=bound
    )
    resumed = executor(2, dtype, dropout=0.0, device="cuda")
    resumed.load_state_dict({name: value.cpu() for name, value in there.state_dict().items()})
    a, b = (one.train_step(batch_of(5), 5, 0.001) for one in (there, resumed))
    assert a.loss == pytest.approx(b.loss, rel=1e-6)


def test_bf16_layers_follow_fp32_parameters() -> None:
    run, exact = executor(2, torch.bfloat16), executor(2)
    for step in range(2):
        rounded = run.train_step(batch_of(step), step, 0.01)
        wanted = exact.train_step(batch_of(step), step, 0.01)
        assert rounded.loss == pytest.approx(wanted.loss, rel=0.02)
        assert rounded.gradient_norm == pytest.approx(wanted.gradient_norm, rel=0.1)
    parameters = run.gather_parameters()
    assert all(value.dtype == torch.float32 for value in parameters.values())
    for name, working in run._stack.canonical_parameters().items():
        assert working.dtype == torch.bfloat16
        assert torch.equal(working, parameters[name].bfloat16()), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_average_is_that_of_the_fp32_parameters(dtype: torch.dtype) -> None:
    run, undisturbed = executor(2, dtype), executor(2, dtype)
    history = []
    for step in range(3):
        run.train_step(batch_of(step), step, 0.01)
        run.update_average(0.8)
        history.append(copied(run.gather_parameters()))
        undisturbed.train_step(batch_of(step), step, 0.01)
    shares = [0.8**2, 0.8, 1.0]
    batch = batch_of(7)
    with run.using_average():
        mean, loss = copied(run.gather_parameters()), run.validation_loss([batch])
        for name, working in run._stack.canonical_parameters().items():
            assert torch.equal(working, mean[name].to(dtype)), name
    for name, value in mean.items():
        terms = [share * one[name] for share, one in zip(shares, history, strict=True)]
        torch.testing.assert_close(value, torch.stack(terms).sum(0) / sum(shares))
    with undisturbed.using(mean):
        assert undisturbed.validation_loss([batch]) == loss
    results = [one.train_step(batch_of(3), 3, 0.01) for one in (run, undisturbed)]
    assert results[0].loss == results[1].loss
    assert results[0].gradient_norm == results[1].gradient_norm
