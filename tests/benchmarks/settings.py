"""Settings tried at random on all commands, in great number:
`python -m tests.benchmarks.settings [--tries 200] [--seed 1] [--commands train,place]`.

Prints a row for each command, and each override that ended in a traceback or did not end."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from nmt.markdown import markdown_table
from tests.conftest import write_tiny_model
from tests.wrong_settings import COMMANDS, Commands, Try, commands, tries


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=200, help="for each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with commands(folder, write_tiny_model(folder, "lstm")) as running:
            for command in options.commands.split(","):
                rows.append(walk(running, command, options.tries, options.seed))
    print(markdown_table(["command", "tries", "how they ended", "slowest, s"], rows))


def walk(running: Commands, command: str, count: int, start: int) -> list[str]:
    """Try so many settings of a command → a row of the table."""
    counts: Counter[str] = Counter()
    seconds = [0.0]

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(tries(command))
    def each(one: Try) -> None:
        outcome = running.run(one)
        seconds.append(outcome.seconds)
        fault = outcome.fault()
        counts[fault or ("done" if outcome.code == 0 else "refused")] += 1
        if fault is not None:
            last = outcome.error.strip().splitlines()[-1:] or [""]
            print(f"nmt-{command} {one.override!r}: {fault}: {last[0][:300]}", flush=True)

    each()
    ends = ", ".join(f"{kind}: {number}" for kind, number in counts.items())
    return [f"nmt-{command}", str(counts.total()), ends, f"{max(seconds):.1f}"]


if __name__ == "__main__":
    main()
