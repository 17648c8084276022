"""The optimizer and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from nmt.config import OptimizerConfig, ScheduleConfig
from nmt.parallel.executor import OptimizerFactory
from nmt.rules.known import read_rule
from nmt.training.rule_optimizer import RuleOptimizer


def optimizer_factory(config: OptimizerConfig) -> OptimizerFactory:
    """A function that makes the configured optimizer for a list of parameters; each process calls
    it with its own."""

    def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def adagrad(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return LateAdagrad(
            parameters,
            lr=config.learning_rate,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
        )

    def adafactor(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adafactor(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def rule(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        assert config.rule is not None, "the configuration was checked"
        expression = read_rule(config.rule, config.betas)
        return RuleOptimizer(parameters, expression, config.learning_rate, config.weight_decay)

    factories: dict[str, OptimizerFactory] = {
        "adam": adam,
        "sgd": sgd,
        "adagrad": adagrad,
        "adafactor": adafactor,
        "rule": rule,
    }
    return factories[config.name]


class LateAdagrad(torch.optim.Adagrad):
    """Adagrad that makes the state of parameters when they are first updated, as other optimizers
    do. PyTorch's (before 2.13) does so only for those that it is made with, but DeepSpeed replaces
    them by flat vectors."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if parameter.grad is not None and not state:
                    state["step"] = torch.tensor(0.0)
                    state["sum"] = torch.zeros_like(parameter, requires_grad=False)
        loss: float | None = super().step(closure)
        return loss


def learning_rate_factor(config: ScheduleConfig, step: int, progress: float) -> float:
    """The learning rate at `step` (from 0) as a fraction of its peak, when the fraction `progress`
    of the run is done. Depends only on steps and data, never on the clock, so that runs can be
    repeated. What the plateau schedule does to it is in the run's progress.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.name in ("constant", "plateau"):
        return warm
    if config.name == "inverse_sqrt":
        base = max(config.warmup_steps, 1)
        return warm * math.sqrt(base / max(step + 1, base))
    assert config.name == "cosine", config.name
    late = max(0.0, min(1.0, (progress - config.decay_start) / (1 - config.decay_start)))
    decay = 0.5 * (1 + math.cos(math.pi * late))
    return warm * (config.final_factor + (1 - config.final_factor) * decay)
