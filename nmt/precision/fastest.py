"""Which number format is the fastest on this processor: a measurement of a few milliseconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from nmt.errors import ConfigurationError
from nmt.precision.formats import Name, format_of, require

logger = logging.getLogger(__name__)

ROWS = 64
REPEATS = 5


@torch.inference_mode()
def fastest(names: Sequence[Name], device: str, hidden: int) -> Name:
    """The fastest of the formats that `device` supports, for an LSTM of that many units."""
    seconds = {name: _seconds(name, device, hidden) for name in names if _supported(name, device)}
    best = min(seconds, key=lambda name: seconds[name])
    logger.info(
        "precision %s, the fastest of %s on %s",
        best,
        ", ".join(f"{name} ({1000 * value:.2f} ms)" for name, value in seconds.items()),
        device,
    )
    return best


def _supported(name: Name, device: str) -> bool:
    try:
        require(name, device, emulate=False)
    except ConfigurationError:
        return False
    return True


def _seconds(name: Name, device: str, hidden: int) -> float:
    """Of one step's product, at best."""
    number_format = format_of(name)
    width = 2 * hidden
    weight = torch.linspace(-1, 1, 4 * hidden * width, device=device).view(4 * hidden, width)
    linear = number_format.linear(weight, None, [(width, 1.0)])
    codes = number_format.encode(torch.ones(ROWS, width, device=device), 1.0)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        linear(codes)
        if codes.is_cuda:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
