"""One optimizer for all update rules.

On a CPU in fp32, a rule is C that the machine's compiler builds when it is first used: one pass
over the weights. Elsewhere it is computed by PyTorch's operations.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from nmt.kernels.compiled import compiled
from nmt.kernels.native import ELEMENTARY
from nmt.rules.code import c_code, is_scalar, names_of_states
from nmt.rules.evaluate import FUNCTIONS, computed
from nmt.rules.expression import Call, Expression, Mean, means
from nmt.rules.simplify import simplify

# Of tensors, and of numbers beside them.
OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "negative": torch.neg,
    "sign": torch.sign,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": lambda x: x.abs().log(),
    "sqrt": lambda x: x.abs().sqrt(),
    "square": torch.square,
    "cos": torch.cos,
    "clip": lambda x, bound: x.clamp(-bound, bound),
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": torch.pow,
}


class RuleOptimizer(torch.optim.Optimizer):
    """Subtracts the learning rate times the rule's value from each weight, after decoupled weight
    decay. `done` of a parameter group is the fraction of the run that is done."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        rule: Expression,
        lr: float,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "done": 0.0})
        self._rule = simplify(rule)
        self._means = means(self._rule)
        self._names = names_of_states(self._rule)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state_of(parameter)
                state["step"] += 1
                if not self._by_code(parameter, state, group):
                    self._by_operations(parameter, state, group)
        return loss

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            for name in self._names:
                state[name] = torch.zeros_like(parameter, requires_grad=False)
        return state

    def _corrections(self, steps: int) -> list[float]:
        """What the means are multiplied by against the bias of their start."""
        return [1 / (1 - one.decay**steps) for one in self._means]

    def _by_code(
        self, parameter: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]
    ) -> bool:
        """Update a parameter by compiled code → whether that was possible."""
        gradient, kept = parameter.grad, [state[name] for name in self._names]
        assert gradient is not None, "the caller has checked that"
        everything = [parameter, gradient, *kept]
        if any(x.device.type != "cpu" or x.dtype != torch.float32 for x in everything) or not all(
            x.is_contiguous() for x in everything
        ):
            return False
        code = _code_of(self._rule)
        if code is None:
            return False
        corrections = self._corrections(int(state["step"]))
        code(
            parameter.numel(),
            parameter.data_ptr(),
            gradient.data_ptr(),
            (ctypes.c_void_p * max(1, len(kept)))(*(x.data_ptr() for x in kept)),
            (ctypes.c_float * max(1, len(kept)))(*corrections),
            group["lr"],
            1 - group["lr"] * group["weight_decay"],
            group["done"],
            torch.get_num_threads(),
        )
        return True

    def _by_operations(
        self, parameter: Tensor, state: Mapping[str, Any], group: Mapping[str, Any]
    ) -> None:
        """Update a parameter by PyTorch's operations."""
        kept = {
            (mean.value, mean.decay): (state[name], correction)
            for mean, name, correction in zip(
                self._means, self._names, self._corrections(int(state["step"])), strict=True
            )
        }

        def update(one: Mean, value: Any) -> None:
            mean, _ = kept[one.value, one.decay]
            fresh = torch.as_tensor(value, dtype=mean.dtype, device=mean.device)
            mean.lerp_(fresh.expand_as(mean), 1 - one.decay)

        def mean(one: Mean) -> Any:
            value, correction = kept[one.value, one.decay]
            return value * correction if one.corrected else value

        def call(one: Call, arguments: list[Any]) -> Any:
            if is_scalar(one):
                return float(FUNCTIONS[one.name](*arguments))
            return OPERATIONS[one.name](*arguments)

        variables = {"g": parameter.grad, "w": parameter.detach(), "done": float(group["done"])}
        value = computed(self._rule, variables, float, update, mean, call)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(group["lr"] * value)


@cache
def _code_of(rule: Expression) -> Callable[..., None] | None:
    """The compiled rule; None where it cannot be built."""
    library = compiled("update rules", c_code(rule), (ELEMENTARY,))
    if library is None:
        return None
    function: Callable[..., None] = library.nmt_rule
    library.nmt_rule.restype = None
    library.nmt_rule.argtypes = [
        ctypes.c_long,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_float),
        *[ctypes.c_float] * 3,
        ctypes.c_int,
    ]
    return function
