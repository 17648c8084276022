"""Whole runs of two stages, by the command: as a run of one process, and after `kill -9`."""

import json
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.config import TrainConfig
from nmt.placement.plan import Plan
from nmt.train import train
from tests.training.conftest import ROOT, kill_at_random, train_command

MakeConfig = Callable[..., TrainConfig]
LAST = "checkpoints/step-00000024/state.safetensors"
# The last step has a checkpoint anyway.
CUT = ("parallel.micro_batches=2", "training.average.every=4", "training.checkpoint_every=6")


def run(command: list[str]) -> str:
    """What the command says."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def validations(config: TrainConfig) -> list[dict[str, float]]:
    text = (config.folder / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line["kind"] == "validation"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("executor", "schedule"),
    [("deepspeed", "1f1b"), ("wavefront", "wavefront")],
)
def test_two_devices(small: MakeConfig, tmp_path: Path, executor: str, schedule: str) -> None:
    stages: tuple[str, ...] = (
        f"parallel={executor}",
        "parallel.stages=2",
        *CUT,
        "parallel.device=cpu",
    )
    if executor == "wavefront":
        stages += ("parallel.chunks=2",)
    whole = small("name=whole", *stages, "parallel.trace=true")
    said = run(train_command(whole, tmp_path))
    assert said.count("pairs kept") == 1
    plan = Plan.load(whole.folder / "plan.json")
    assert (plan.devices, plan.micro_batches, plan.schedule) == (["cpu", "cpu"], 2, schedule)
    assert "idle time of each device: " in said
    trace = json.loads((whole.folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert {event["pid"] for event in trace} == {0, 1}
    kinds = {"forward", "backward", "waiting", "communication", "update"}
    assert {event["cat"] for event in trace} == kinds
    assert (whole.folder / "trace.png").read_bytes().startswith(b"\x89PNG")

    # As one process
    alone = small("name=alone", *CUT)
    train(alone)
    assert [v["step"] for v in validations(whole)] == [6, 12, 18, 24]
    for line, other in zip(validations(whole), validations(alone), strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
    best, expected_best = (load_file(c.folder / "best/model.safetensors") for c in (whole, alone))
    assert best.keys() == expected_best.keys()
    for name, value in best.items():
        # Adam makes steps of noise where a gradient is next to zero.
        torch.testing.assert_close(value, expected_best[name], rtol=0, atol=2e-3, msg=name)

    # Killed and resumed, by the plan that it began with: measuring the layers again might give
    # another one.
    plan_file = whole.folder / "plan.json"
    killed = small("name=killed", *stages, "placement.planner=file", f"placement.file={plan_file}")
    command = train_command(killed, tmp_path)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        kill_at_random(process, killed.folder, random.Random(0))
        _, message = process.communicate()
    assert process.returncode == -signal.SIGKILL, message
    said = run(train_command(small("name=killed", *stages), tmp_path))
    assert "resuming from step 6 " in said
    assert Plan.load(killed.folder / "plan.json") == plan
    ours, theirs = (load_file(config.folder / LAST) for config in (killed, whole))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
