"""Expressions that describe how weights are updated: read, printed, simplified, compared and
checked, without PyTorch. `nmt.training.rule_optimizer` trains by them."""

from nmt.rules.check import Findings, examine
from nmt.rules.expression import Call, Expression, Mean, Number, Variable, parts
from nmt.rules.known import KNOWN
from nmt.rules.parse import parse
from nmt.rules.simplify import simplify

__all__ = [
    "KNOWN",
    "Call",
    "Expression",
    "Findings",
    "Mean",
    "Number",
    "Variable",
    "examine",
    "parse",
    "parts",
    "simplify",
]
