"""Expressions that describe how weights are updated: read, printed, simplified, and in `check`
compared and examined, without PyTorch. `nmt.training.rule_optimizer` trains by them."""

from nmt.rules.expression import Call, Expression, Mean, Number, Variable, parts
from nmt.rules.known import KNOWN, read_rule
from nmt.rules.parse import parse
from nmt.rules.simplify import simplify

__all__ = [
    "KNOWN",
    "Call",
    "Expression",
    "Mean",
    "Number",
    "Variable",
    "parse",
    "parts",
    "read_rule",
    "simplify",
]
