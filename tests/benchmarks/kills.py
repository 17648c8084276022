"""Runs that are killed or sent signals at random times, resumed, and compared to the bit with an
uninterrupted one: `python -m tests.benchmarks.kills [--kills 12] [--folder runs/kills]`.

For each way to train (one process, DeepSpeed and wavefront with two and three stages), runs of a
small model on the sample corpus are started, sent SIGKILL, SIGTERM and SIGINT in turns, and started
again until they have ended. Signals that let a run save must lose no step.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

STEPS = 60
SETTINGS = (
    "data=sample",
    "model=tiny",
    "model.hidden_size=32",
    "parallel.device=cpu",
    "parallel.threads=1",
    f"training.max_steps={STEPS}",
    "training.max_epochs=null",
    "training.checkpoint_every=15",
    "training.validate_every=30",
    "training.validate_sentences=20",
    "training.log_every=1",
)
WAYS = {
    "local": ("parallel=local",),
    "wavefront, 2 stages": ("parallel=wavefront", "parallel.stages=2", "parallel.chunks=2"),
    "wavefront, 3 stages": ("parallel=wavefront", "parallel.stages=3", "parallel.chunks=2"),
    "deepspeed, 2 stages": ("parallel=deepspeed", "parallel.stages=2"),
    "deepspeed, 3 stages": ("parallel=deepspeed", "parallel.stages=3"),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass
class Outcome:
    """What the runs of one way have shown."""

    kills: int = 0
    different: int = 0  # runs whose final bits differ
    lost: int = 0  # steps that signals other than SIGKILL have lost
    tracebacks: int = 0


def main() -> None:
    """Print a table, a row for each way to train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="for each way to train")
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    print("| way | kills | runs with other bits | steps lost at signals | tracebacks |")
    print("|---|---|---|---|---|")
    for way, settings in WAYS.items():
        folder = options.folder / way.replace(", ", "-").replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        subprocess.run(command(folder, "whole", settings), check=True, capture_output=True)
        seconds = time.monotonic() - began
        expected, outcome, runs = digest(folder / "whole"), Outcome(), 0
        while outcome.kills < options.kills:
            runs += 1
            interrupted(folder, f"run{runs}", settings, seconds, outcome, options.kills, rng)
            outcome.different += digest(folder / f"run{runs}") != expected
        row = (way, outcome.kills, outcome.different, outcome.lost, outcome.tracebacks)
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def command(folder: Path, name: str, settings: tuple[str, ...]) -> list[str]:
    """`nmt-train` in the folder."""
    where = (f"runs={folder}", f"name={name}")
    return [sys.executable, "-m", "nmt.train", *where, *SETTINGS, *settings]


def interrupted(
    folder: Path,
    name: str,
    settings: tuple[str, ...],
    seconds: float,
    outcome: Outcome,
    kills: int,
    rng: random.Random,
) -> None:
    """One run, started until it ends, and interrupted after a random time, twice on average."""
    while True:
        process = subprocess.Popen(
            command(folder, name, settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        number = SIGNALS[outcome.kills % len(SIGNALS)]
        if outcome.kills < kills:
            try:
                process.wait(rng.uniform(0.1, 1.2) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                outcome.kills += 1
        _, said = process.communicate(timeout=600)
        outcome.tracebacks += b"Traceback" in said
        if process.returncode == 0:
            return
        if b"which is saved" in said:
            outcome.lost += logged(folder / name) - saved(folder / name)


def logged(folder: Path) -> int:
    """The last step that was done."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return int(json.loads(lines[-1])["step"])


def saved(folder: Path) -> int:
    """The step of the newest checkpoint."""
    return max(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*[0-9]"))


def digest(folder: Path) -> str:
    """Of the final weights and the optimizer's state."""
    file = folder / "checkpoints" / f"step-{STEPS:08d}" / "state.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
