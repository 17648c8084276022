"""Update rules that people have found, written as expressions.

Decays of the weights, where they have one, are the optimizer's `weight_decay`. Known rates are no
part of a rule: each has its own learning rate.
"""

from __future__ import annotations

from nmt.rules.expression import Expression
from nmt.rules.parse import BETAS, parse

KNOWN = {
    "sgd": "g",
    "momentum": "ema(g, 0.9)",
    "sign": "sign(g)",
    "rmsprop": "g / (sqrt(v) + 1e-8)",
    "adam": "m / (sqrt(v) + 1e-8)",
    # Chen et al., “Symbolic Discovery of Optimization Algorithms”, NeurIPS 2023, with decays of
    # 0.9 and 0.99: 0.9 of the mean before this step plus 0.1 of the gradient are a tenth of a
    # multiple of the mean after this step plus the gradient.
    "lion": "sign(10 * ema(g, 0.99) + g)",
    # Bello et al., ICML 2017.
    "powersign": "g * exp(sign(g) * sign(m))",
    "powersign_linear": "g * exp(linear * sign(g) * sign(m))",
    "addsign": "g * (1 + sign(g) * sign(m))",
    "addsign_cosine": "g * (1 + cosine * sign(g) * sign(m))",
}


def read_rule(text: str, betas: tuple[float, float] = BETAS) -> Expression:
    """Read a rule, or one that is known by its name.

    Raises:
        RuleError: it is neither.
    """
    return parse(KNOWN.get(text, text), betas)
