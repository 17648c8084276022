"""`python -m tests.benchmarks [only=train,pipeline,placement,decode,trained,server,gpu]
[key=value …]`.

Prints a table and writes `runs/bench/bench.json` (a list of rows) and `runs/bench/about.json`
(machine, versions, date, command and all single measurements). A part replaces only its own rows.
The options are in `options.py`; NMT_CORPORA must name the folder of corpora.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module

from tests.benchmarks.machine import state_of_machine, warnings_about
from tests.benchmarks.options import PARTS, Options, read_options
from tests.benchmarks.results import Report


def runner(part: str) -> Callable[[Options, Report], None]:
    """The function that measures a part. Imported on demand, so that only its own dependencies must
    be installed."""
    run: Callable[[Options, Report], None] = import_module(f"tests.benchmarks.{part}").run
    return run


def main() -> None:
    """Run the selected parts, one after another."""
    options = read_options(Options, sys.argv[1:])
    if unknown := set(options.only) - set(PARTS):
        raise SystemExit(f"`only` must be of {', '.join(PARTS)}, but is {unknown.pop()!r} instead.")
    if "NMT_CORPORA" not in os.environ:
        raise SystemExit("NMT_CORPORA must be set to the folder of corpora; see data/README.md.")
    command = " ".join(["python -m tests.benchmarks", *sys.argv[1:]])
    for part in options.only:
        started = state_of_machine()
        report = Report(part, notes=warnings_about(started))
        runner(part)(options, report)
        print(report.table(), end="\n\n", flush=True)
        report.save(options.output, command, started)
    print(f"Written: {options.output / 'bench.json'}")


if __name__ == "__main__":
    main()
