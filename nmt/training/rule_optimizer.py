"""One optimizer for all update rules.

On a CPU in fp32, a rule is C that the machine's compiler builds when it is first used: one pass
over the weights. Elsewhere it is computed by PyTorch's operations on whole lists of parameters.
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
from nmt.rules.evaluate import FUNCTIONS
from nmt.rules.expression import Call, Expression, Mean, Number, Variable, means, parts
from nmt.rules.simplify import simplify


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
            own = [parameter for parameter in group["params"] if parameter.grad is not None]
            plain: dict[int, list[Tensor]] = {}  # by the number of their steps
            for parameter in own:
                state = self._state_of(parameter)
                state["step"] += 1
                if not self._by_code(parameter, state, group):
                    plain.setdefault(int(state["step"]), []).append(parameter)
            for steps, some in plain.items():
                self._by_operations(some, steps, group)
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

    def _by_operations(self, some: Sequence[Tensor], steps: int, group: Mapping[str, Any]) -> None:
        """Update parameters by PyTorch's operations."""
        corrections = dict(zip(self._names, self._corrections(steps), strict=True))
        states = [self.state[parameter] for parameter in some]
        moments = {
            (mean.value, mean.decay): name
            for mean, name in zip(self._means, self._names, strict=True)
        }
        known: dict[str, Any] = {
            "g": [parameter.grad for parameter in some],
            "w": list(some),
            "done": float(group["done"]),
        }
        values: dict[Expression, Any] = {}
        updated: set[str] = set()
        for one in parts(self._rule):
            match one:
                case Number(value=value):
                    values[one] = value
                case Variable(name=variable):
                    values[one] = known[variable]
                case Mean(value=value, decay=decay, corrected=corrected):
                    name = moments[value, decay]
                    kept = [state[name] for state in states]
                    if name not in updated:
                        updated.add(name)
                        fresh = values[value]
                        if not isinstance(fresh, list):
                            fresh = [torch.full_like(x, fresh) for x in kept]
                        torch._foreach_lerp_(kept, fresh, 1 - decay)
                    factor = corrections[name]
                    values[one] = list(torch._foreach_mul(kept, factor)) if corrected else kept
                case Call(name=function, arguments=arguments):
                    operands = [values[x] for x in arguments]
                    values[one] = (
                        float(FUNCTIONS[function](*operands))
                        if is_scalar(one)
                        else _operation(function, operands)
                    )
        result = values[self._rule]
        if not isinstance(result, list):
            result = [torch.full_like(x, result) for x in some]
        torch._foreach_mul_(list(some), 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(list(some), result, alpha=-group["lr"])


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


def _operation(name: str, operands: Sequence[Any]) -> list[Tensor]:
    """A function of lists of tensors and of numbers, at least one of them a list."""
    first, second = operands[0], operands[-1]
    match name:
        case "negative":
            found = torch._foreach_neg(first)
        case "sign":
            found = torch._foreach_sign(first)
        case "abs":
            found = torch._foreach_abs(first)
        case "exp":
            found = torch._foreach_exp(first)
        case "log":
            found = torch._foreach_log(torch._foreach_abs(first))
        case "sqrt":
            found = torch._foreach_sqrt(torch._foreach_abs(first))
        case "square":
            found = torch._foreach_mul(first, first)
        case "cos":
            found = torch._foreach_cos(first)
        case "clip":
            found = torch._foreach_clamp_max(torch._foreach_clamp_min(first, -second), second)
        case "+" if isinstance(first, list):
            found = torch._foreach_add(first, second)
        case "+":
            found = torch._foreach_add(second, first)
        case "*" if isinstance(first, list):
            found = torch._foreach_mul(first, second)
        case "*":
            found = torch._foreach_mul(second, first)
        case "-" if isinstance(first, list):
            found = torch._foreach_sub(first, second)
        case "-":
            found = torch._foreach_add(torch._foreach_neg(second), first)
        case "/" if isinstance(first, list):
            found = torch._foreach_div(first, second)
        case "/":
            found = torch._foreach_mul(torch._foreach_reciprocal(second), first)
        case _:
            assert name == "**", name
            found = torch._foreach_pow(first, second)
    return list(found)
