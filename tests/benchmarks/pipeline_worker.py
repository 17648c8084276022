"""One process of a measured pipeline: `… <output file> <steps> <overrides of conf/train.yaml>`."""

from __future__ import annotations

import json
import logging
import sys
import time
from itertools import islice
from pathlib import Path

from nmt.placement.plan import Plan
from tests.benchmarks.ours import Steps, prepared, training_config


def main() -> None:
    """One step to warm up, then the measured ones."""
    logging.disable(logging.INFO)
    output, steps = Path(sys.argv[1]), int(sys.argv[2])
    config = training_config(sys.argv[3:], output.parent)
    training = Steps(config, prepared(config))
    results = iter(training)
    next(results)
    seconds, tokens, losses = [], [], []
    begin = time.perf_counter()
    for count, loss in islice(results, steps):
        end = time.perf_counter()
        seconds.append(end - begin)
        tokens.append(count)
        losses.append(loss)
        begin = end
    if training.executor.is_main:
        found = {"seconds": seconds, "tokens": tokens, "losses": losses}
        plan = Plan.load(config.folder / "plan.json").table()
        output.write_text(json.dumps({**found, "plan": plan}), "utf-8")
    training.executor.close()


if __name__ == "__main__":
    main()
