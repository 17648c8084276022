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
    # 0.9 and 0.99. They take 0.9 × the mean before the step + 0.1 × g. With the mean after the
    # step, that is (10 × the mean + g) / 11.
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
