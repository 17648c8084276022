"""Successive halving (Jamieson & Talwalkar 2016) in its asynchronous form (Li et al. 2020), which
stops runs instead of pausing them: nobody waits for a rival.

Runs that train side by side, or one after the other, append their losses to one file. Each goes on
if its own is among the best so far at the same rung.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from nmt.config import HalvingConfig

logger = logging.getLogger(__name__)

LOSSES = "rungs.jsonl"


class Halving:
    """The rungs of one run."""

    def __init__(self, config: HalvingConfig, run: str) -> None:
        self._config, self._run = config, run
        self._rungs = sorted(config.rungs) if config.folder is not None else []
        self._next = 0

    def resume(self, seconds: float, tokens: int) -> None:
        """Leave out the rungs that a resumed run has passed."""
        while self.reached(seconds, tokens) is not None:
            pass

    def reached(self, seconds: float, tokens: int) -> int | None:
        """The rung that has just been reached; None if there is none. Each is named once."""
        done = seconds if self._config.by == "seconds" else tokens
        if self._next == len(self._rungs) or done < self._rungs[self._next]:
            return None
        self._next += 1
        return self._next - 1

    def survives(self, rung: int, loss: float) -> bool:
        """Leave this run's loss at a rung for its rivals → whether it goes on."""
        assert self._config.folder is not None, "without a folder there are no rungs"
        file = Path(self._config.folder) / LOSSES
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a+", encoding="utf-8") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            opened.write(json.dumps({"rung": rung, "run": self._run, "loss": loss}) + "\n")
            opened.flush()
            opened.seek(0)
            losses = {run: one for at, run, one in _read(opened.read()) if at == rung}
        place = sum(one < loss for one in losses.values())
        survives = math.isfinite(loss) and place < math.ceil(self._config.keep * len(losses))
        logger.info(
            "rung %d: loss %.3f, place %d of %d, %s",
            rung,
            loss,
            place + 1,
            len(losses),
            "goes on" if survives else "ends here",
        )
        return survives


def _read(text: str) -> Iterator[tuple[int, str, float]]:
    """(rung, run, loss) of each line; of several by one run, the last one counts."""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            yield int(entry["rung"]), str(entry["run"]), float(entry["loss"])
        except (ValueError, TypeError, KeyError):
            continue  # half a line, of a run that was killed
