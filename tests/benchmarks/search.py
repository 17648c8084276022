"""Methods of searches against each other, and searches that are killed again and again.

python -m tests.benchmarks.search compare runs/rules-*      a table of finished searches
python -m tests.benchmarks.search run --space rules --seeds 1 2 3 [--tokens 60000] [--children 100]
python -m tests.benchmarks.search kill [--times 10] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import fmean, stdev

from nmt.markdown import markdown_table
from nmt.search.curves import Curve, at, read_curve
from nmt.search.history import read_events

METHODS = ("random", "evolution", "reinforce", "optuna")
# A model that learns something of Multi30k in a quarter of a minute on one core.
PROXY = (
    "data=multi30k",
    "model.hidden_size=128",
    "data.batch.tokens=500",
    "data.vocabulary.size=2000",
    "search.budget.by=tokens",
)
TINY = (
    "search=rules",
    "data=sample",
    "model.hidden_size=64",
    "data.batch.tokens=500",
    "search.budget.by=tokens",
    "search.budget.child=3000",
)
PARTS = (0.25, 0.5, 1.0)  # of the budget


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    compare = actions.add_parser("compare")
    compare.add_argument("folders", nargs="+", type=Path)
    run = actions.add_parser("run")
    run.add_argument("--space", default="rules")
    run.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    run.add_argument("--methods", nargs="+", default=list(METHODS))
    run.add_argument("--tokens", type=int, default=60_000)
    run.add_argument("--children", type=int, default=100)
    kill = actions.add_parser("kill")
    kill.add_argument("--times", type=int, default=10)
    kill.add_argument("--seed", type=int, default=1)
    kill.add_argument("--method", default="evolution")
    options = parser.parse_args()
    if options.action == "compare":
        print(compared([read_curve(folder) for folder in options.folders]))
    elif options.action == "run":
        for seed in options.seeds:
            for method in options.methods:
                search(options.space, method, seed, options.tokens, options.children)
    else:
        killed(options.times, options.seed, options.method)


def search(space: str, method: str, seed: int, tokens: int, children: int) -> None:
    """One search from scratch: without starting points, so that methods alone differ."""
    subprocess.run(
        [
            *(sys.executable, "-m", "nmt.train", "-m", f"hydra/sweeper={method}"),
            *(f"search={space}", f"name={space}-{method}-{seed}", f"seed={seed}", *PROXY),
            *("search.start=[]", f"search.budget.child={tokens}"),
            f"search.budget.children={children}",
        ],
        check=True,
    )


def compared(curves: list[Curve]) -> str:
    """Best losses of each method when parts of the same budget have been spent, which is what the
    cheapest search spent: mean ± standard deviation."""
    rows, budget = [], min(curve.records[-1].at for curve in curves)
    for method in dict.fromkeys(curve.method for curve in curves):
        group = [curve for curve in curves if curve.method == method]
        cells = []
        for part in PARTS:
            found = [best_after(curve, part * budget) for curve in group]
            cells.append(spread([one for one in found if one is not None]))
        children = sum(len(curve.records) for curve in group)
        pruned = sum(one.is_pruned for curve in group for one in curve.records)
        failed = sum(one.loss is None for curve in group for one in curve.records)
        rows.append([method, str(len(group)), *cells, f"{pruned / children:.0%}", str(failed)])
    spent = [f"best after {part * budget:,.0f} {curves[0].by}" for part in PARTS]
    head = ["method", "searches", *spent]
    return markdown_table([*head, "pruned", "failed"], rows)


def best_after(curve: Curve, spent: float) -> float | None:
    """The best loss when that much has been spent; None: no child had ended."""
    points = curve.best_so_far
    return at(points, spent) if points and points[0][0] <= spent else None


def spread(values: list[float]) -> str:
    """Mean ± standard deviation; the value itself if there is one."""
    if not values:
        return ""
    mean = f"{fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {stdev(values):.3f}"


def killed(times: int, seed: int, method: str) -> None:
    """Kill a search at random moments, go on with it each time, and count its children."""
    rng, name = random.Random(seed), f"killed-{method}-{seed}"
    runs = Path(os.environ.get("NMT_RUNS", "runs"))
    command = [
        *(sys.executable, "-m", "nmt.train", "-m", f"hydra/sweeper={method}", *TINY),
        *(f"name={name}", "search.budget.children=24"),
    ]
    for number in range(times):
        with subprocess.Popen(command, stdout=-3, stderr=-3, start_new_session=True) as process:
            seconds = rng.uniform(3.5, 9)
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.2)
        ended = sum(one["event"] == "end" for one in read_events(runs / name))
        print(f"kill {number + 1} after {seconds:.1f} s: {ended} children have ended", flush=True)
    subprocess.run(command, check=True)
    for kind in ("child", "end"):
        numbers = Counter(o["number"] for o in read_events(runs / name) if o["event"] == kind)
        print(f"{kind}: {len(numbers)} children, {numbers.total() - len(numbers)} repeated")


if __name__ == "__main__":
    main()
