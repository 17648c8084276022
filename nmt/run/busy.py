"""How busy other programs keep this machine: costs that are measured beside them are wrong."""

from __future__ import annotations

import logging
import time
from pathlib import Path

logger = logging.getLogger(__name__)

WATCHED = 0.3  # seconds
MOST = 0.2  # share of the machine's CPUs that others may use while costs are measured
STATISTICS = Path("/proc/stat")


def busy_share(seconds: float = WATCHED, statistics: Path = STATISTICS) -> float:
    """The share of the machine's CPU time that was used during the next seconds, in which this
    process sleeps. 0 where the system does not tell."""
    before = _times(statistics)
    time.sleep(seconds)
    after = _times(statistics)
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return 1 - (after[0] - before[0]) / (after[1] - before[1])


def warn_if_busy() -> None:
    """Warn if other programs use so much of the machine that measured costs may be wrong."""
    share = busy_share()
    if share > MOST:
        logger.warning(
            "Other programs use %.0f%% of this machine's CPUs, so measured costs and plans made of "
            "them may be wrong.",
            100 * share,
        )


def _times(statistics: Path) -> tuple[int, int] | None:
    """(idle, all) time of all CPUs so far, in the system's units."""
    try:
        fields = [int(text) for text in statistics.read_text("utf-8").split("\n")[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)
    except (OSError, ValueError, IndexError):
        return None
