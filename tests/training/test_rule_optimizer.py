"""One optimizer for all rules, by compiled code and by PyTorch's operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file
from torch import Tensor, nn

from nmt.errors import ConfigurationError
from nmt.kernels import compiled
from nmt.rules import KNOWN, Expression, parse, read_rule
from nmt.rules.check import examine
from nmt.rules.evaluate import updates
from nmt.train import train
from nmt.training import rule_optimizer
from nmt.training.checkpoint import STATE
from nmt.training.notices import notice_rule
from nmt.training.rule_optimizer import RuleOptimizer
from tests.rules.conftest import RULES
from tests.training.conftest import MakeConfig

STEPS, RATE = 6, 0.01


@pytest.fixture(params=["code", "operations"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    rule_optimizer._code_of.cache_clear()
    if request.param == "operations":
        monkeypatch.setenv("NMT_NATIVE", "0")
    yield str(request.param)
    rule_optimizer._code_of.cache_clear()


def trained(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    sizes: tuple[tuple[int, ...], ...] = ((7, 5), (3,)),
    dtype: torch.dtype = torch.float32,
    done: float | None = None,
    factor: float = 1.0,
) -> list[Tensor]:
    """Parameters after some steps of random gradients, which are multiplied by `factor`."""
    generator = torch.Generator().manual_seed(1)
    parameters = [nn.Parameter(torch.randn(size, generator=generator).to(dtype)) for size in sizes]
    optimizer = make(parameters)
    for step in range(STEPS):
        if done is not None:
            optimizer.param_groups[0]["done"] = done * step
        for parameter in parameters:
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = factor * gradient.to(dtype)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.usefixtures("way")
def test_adam_is_pytorchs() -> None:
    found = trained(lambda p: RuleOptimizer(p, read_rule("adam", (0.9, 0.98)), RATE, 0.1))
    expected = trained(
        lambda p: torch.optim.AdamW(p, RATE, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-7)


@pytest.mark.usefixtures("way")
def test_sgd_is_pytorchs() -> None:
    found = trained(lambda p: RuleOptimizer(p, read_rule("sgd"), RATE))
    expected = trained(lambda p: torch.optim.SGD(p, RATE))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def expected_by_numpy(rule: Expression, done: float) -> list[Tensor]:
    """The same steps, computed one by one."""
    generator = torch.Generator().manual_seed(1)
    sizes = ((7, 5), (3,))
    weights = [torch.randn(size, generator=generator) for size in sizes]
    gradients: list[list[Any]] = [[] for _ in sizes]
    for step in range(STEPS):
        for place, size in enumerate(sizes):
            gradients[place].append(torch.randn(size, generator=generator).flatten().numpy())
            history = np.array(gradients[place])
            times = done * np.arange(step + 1)
            value = updates(rule, history, weights[place].flatten().numpy(), times)[-1]
            weights[place] -= RATE * torch.from_numpy(value).reshape(size)
    return weights


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "rule",
    [*KNOWN.values(), "clip(g, 0.5) + 1", "2 / (abs(g) + 1) - v", "2 - g", "3 ** -abs(g)", "1"],
)
def test_every_known_rule_does_what_it_says(rule: str) -> None:
    expression = parse(rule)
    found = trained(lambda p: RuleOptimizer(p, expression, RATE), done=0.1)
    for one, other in zip(found, expected_by_numpy(expression, 0.1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(RULES)
def test_both_ways_agree(rule: Expression) -> None:
    """Where the rule is sound, whatever it is made of."""
    if examine(rule).problem() is not None:
        return
    found = trained(lambda p: RuleOptimizer(p, rule, RATE), done=0.1)
    exact, moved = (
        trained(lambda p: RuleOptimizer(p, rule, RATE), dtype=torch.float64, done=0.1, factor=f)
        for f in (1.0, 1.0 + 1e-5)
    )
    for one, other, shifted in zip(found, exact, moved, strict=True):
        # Some rules make much of the last digits.
        steady = (shifted - other).abs() <= 1e-3 * (1 + other.abs())
        torch.testing.assert_close(one.double()[steady], other[steady], rtol=1e-2, atol=1e-2)


def test_large_parameters_are_shared_by_threads() -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(
                trained(lambda p: RuleOptimizer(p, parse("m"), RATE), sizes=((300, 200), (1,)))
            )
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("way")
def test_parameters_without_gradients_stay() -> None:
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = RuleOptimizer([first, second], parse("m"), RATE)
    first.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(second.detach(), torch.ones(3))
    torch.testing.assert_close(first.detach(), torch.full((3,), 1 - RATE))
    second.grad = torch.ones(3)
    optimizer.step()  # now they are at different steps
    torch.testing.assert_close(second.detach(), torch.full((3,), 1 - RATE))


@pytest.mark.usefixtures("way")
def test_what_lies_in_memory_with_gaps() -> None:
    whole = torch.ones(4, 6)
    parameter = nn.Parameter(whole[:, ::2])
    parameter.grad = torch.ones(4, 3)
    RuleOptimizer([parameter], parse("g"), 1.0).step()
    assert torch.equal(parameter.detach(), torch.zeros(4, 3))
    assert torch.equal(whole[:, 1::2], torch.ones(4, 3))


def test_a_compiler_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rule_optimizer._code_of.cache_clear()
    found = trained(lambda p: RuleOptimizer(p, parse("g * 3"), RATE))
    rule_optimizer._code_of.cache_clear()
    assert "cannot build the code for update rules" in caplog.text
    monkeypatch.delenv("CC")
    expected = trained(lambda p: torch.optim.SGD(p, 3 * RATE))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert compiled._compiler("update rules") is not None


RULE = ("optimizer=rule", "optimizer.rule=powersign", "optimizer.learning_rate=0.01")


def test_a_run_by_a_rule_resumes_to_the_bit(small: MakeConfig) -> None:
    whole, parts = small(*RULE, "name=whole"), small(*RULE, "name=parts")
    train(whole)
    train(parts.changed(training={"max_steps": 11}))
    train(parts)
    states = [
        load_file(one.folder / "checkpoints" / "step-00000024" / STATE) for one in (whole, parts)
    ]
    assert states[0].keys() == states[1].keys()
    assert any(key.startswith("optimizer/mean_0/") for key in states[0])
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("optimizer=rule", "optimizer.rule=x * g"), "`rule` must be an update rule. `x` must be"),
        (("optimizer=rule", "optimizer.rule=null"), "`rule` must be set with `optimizer=rule`"),
        (("optimizer=adam", "optimizer.rule=g"), "and with no other, but is 'g' with adam"),
    ],
)
def test_what_is_no_rule(small: MakeConfig, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        small(*settings)
    assert words in str(raised.value)


@pytest.mark.parametrize(("rule", "warned"), [("m / sqrt(v)", True), ("adam", False)])
def test_a_rule_that_will_not_train_is_warned_of(
    small: MakeConfig, caplog: pytest.LogCaptureFixture, rule: str, warned: bool
) -> None:
    notice_rule(small("optimizer=rule", f"optimizer.rule={rule}"))
    words = "will hardly train anything, since it is not finite in fp32"
    assert (words in caplog.text) == warned


@pytest.mark.parametrize("name", ["exp", "log"])
def test_compiled_functions_are_exact(name: str) -> None:
    """Over all of fp32: infinite, tiny and not numbers, too; what is smaller than normal numbers
    may become 0."""
    rule_optimizer._code_of.cache_clear()
    bits = torch.arange(-(2**31), 2**31, 8191, dtype=torch.int64).to(torch.int32)
    special = torch.tensor([0.0, -0.0, 1.0, 88.722, 88.73, -87.4, -103.9, -104.1, 1e-45, 1.2e-38])
    values = torch.cat([bits.view(torch.float32), special])
    parameter = nn.Parameter(torch.zeros_like(values))
    parameter.grad = values
    RuleOptimizer([parameter], parse(f"{name}(g)"), -1.0).step()
    expected = values.double().exp() if name == "exp" else values.double().abs().log()
    found, right = parameter.detach(), expected.float()
    same = (found == right) | (found.isnan() & right.isnan())
    near = (found.double() - expected).abs() <= 3e-7 * expected.abs() + 1.2e-38
    assert bool((same | near).all()), values[~(same | near)][:10]
