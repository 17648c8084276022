"""What can be known of a rule before anything is trained by it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from nmt.rules.evaluate import Array, updates
from nmt.rules.expression import Expression, depends_on

STEPS, SIZE = 6, 96
SCALES = (1e-10, 1e-6, 1e-3, 1.0, 1e2)  # of gradients; those in training lie in between
LARGEST = 1e6  # a step beyond this, times a learning rate, ends a run
GROWTH = 2.0  # more than this times the step for gradients that are a millionth as large
DIGITS = 6  # to which two rules must agree to be the same


@dataclass(frozen=True)
class Findings:
    """What a rule does with random gradients."""

    uses_gradient: bool
    finite: bool  # in fp32, also where gradients are 0 or tiny
    bounded: bool  # by LARGEST
    grows: bool  # its steps get larger as gradients get smaller
    descends: float  # mean of sign(step) × sign(gradient), from -1 to 1
    fingerprint: str  # the same for rules that are the same function
    direction: str  # the same for rules that are the same but for a constant factor

    def problem(self) -> str | None:
        """Why nothing should be trained by the rule; None: nothing is known against it."""
        if not self.uses_gradient:
            return "it does not depend on the gradient"
        if not self.finite:
            return "it is not finite in fp32 where gradients are 0 or tiny"
        if not self.bounded:
            return f"its steps are larger than {LARGEST:g}"
        if self.grows:
            return "its steps grow as gradients fall, so that it cannot settle"
        if self.descends <= 0:
            return "it does not go down: its steps have the gradient's sign less often than not"
        return None


def examine(rule: Expression) -> Findings:
    """Compute a rule on random gradients of several sizes."""
    sizes, finite, largest, agreement = [], True, 0.0, 0.0
    for scale in SCALES:
        gradients = (_gradients() * scale).astype(np.float32)
        found = updates(rule, gradients, _weights().astype(np.float32))
        finite = finite and bool(np.isfinite(found).all())
        usual = np.nan_to_num(np.abs(found[:, _used()]), nan=0.0, posinf=0.0)
        sizes.append(float(np.median(usual)))
        largest = max(largest, float(np.nan_to_num(np.abs(found), nan=0.0).max()))
        if scale == 1.0:
            signs = np.sign(np.nan_to_num(found)) * np.sign(gradients)
            agreement = float(signs[:, _used()].mean())
    exact = updates(rule, _gradients(), _weights())
    return Findings(
        uses_gradient=depends_on(rule, "g"),
        finite=finite,
        bounded=largest <= LARGEST,
        grows=max(sizes[:2]) > GROWTH * sizes[SCALES.index(1.0)],
        descends=agreement,
        fingerprint=_digest(exact),
        direction=_digest(exact / _size(exact)),
    )


@cache
def _gradients() -> Array:
    """Gradients (STEPS, SIZE) of very different sizes, which keep their signs from step to step
    more often than not; the second half is the first one's negative. A quarter is 0, always or now
    and then, as for words that are not in a batch."""
    rng = np.random.default_rng(20170806)
    usual = np.exp(rng.normal(0, 1.5, SIZE // 2)) * np.sign(rng.normal(0, 1, SIZE // 2))
    half = usual * (1 + rng.normal(0, 1, (STEPS, SIZE // 2)))
    half[:, : SIZE // 16] = 0.0
    half[::2, SIZE // 16 : SIZE // 8] = 0.0
    return np.concatenate([half, -half], axis=1)


def _used() -> Array:
    """Which gradients are never 0."""
    found: Array = (_gradients() != 0).all(0)
    return found


@cache
def _weights() -> Array:
    """Weights (SIZE,), the same in both halves: what does not depend on the gradient's sign goes
    down as often as up."""
    half = np.random.default_rng(1).normal(0, 0.1, SIZE // 2)
    return np.concatenate([half, half])


def _size(found: Array) -> float:
    """The root of the mean square of what is finite; 1 if there is nothing."""
    usual = found[np.isfinite(found)]
    with np.errstate(over="ignore"):
        size = float(np.sqrt(np.mean(np.square(usual)))) if usual.size else 0.0
    return size if np.isfinite(size) and size > 0 else 1.0


def _digest(found: Array) -> str:
    """A digest of numbers rounded to some digits of the largest ones, so that it does not depend on
    the order of operations."""
    scale = 10.0**DIGITS / _size(found)
    with np.errstate(all="ignore"):
        size = float(f"{_size(found):.{DIGITS}g}")
        rounded = np.nan_to_num(np.round(found * scale), nan=1e300, posinf=2e300, neginf=-2e300)
    text = f"{size:.6g}".encode() + (rounded + 0.0).tobytes()
    return hashlib.sha256(text).hexdigest()[:16]
