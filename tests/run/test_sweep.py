"""Sweeps: a folder and a result for each job, a table, and jobs that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nmt.errors import PlanError
from nmt.run.result import RunResult
from nmt.run.sweep import LONGEST_NAME, Outcome, folder_name, job_values, table
from nmt.training.checkpoint import Progress
from tests.training.conftest import ROOT, SMALL, Corpus, MakeConfig


def test_jobs_have_folders_of_their_own() -> None:
    values = {"name": "try", "runs": "runs", "seed": 1}
    found = job_values(values, ["optimizer.learning_rate=0.001", "model=tiny"])
    assert found == {**values, "name": "try/optimizer.learning_rate=0.001,model=tiny"}
    assert job_values(values, []) == values
    assert job_values(values, ["name=other"]) == values, "the user names them"
    assert job_values(values, ["name=try", "seed=2", "runs=r"])["name"] == "try/seed=2"


def test_names_are_safe() -> None:
    assert folder_name(["data=a/../b", "x=[1,2]", "y='ü z'"]) == "data=a-..-b,x=-1,2-,y=-ü-z-"
    long = [folder_name([f"x={'1' * 200}{i}"]) for i in range(2)]
    assert all(len(name) == LONGEST_NAME for name in long)
    assert len(set(long)) == 2


def test_the_table(small: MakeConfig) -> None:
    done = RunResult.of(small(), Progress(step=6, best_score=-1.5, best_step=4, seconds=90.0))
    lines = table(
        [Outcome(["a=1"], done, None), Outcome(["a=2"], None, PlanError("It cannot be.\nNo."))]
    ).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "job",
        "overrides",
        "best loss",
        "step",
        "minutes",
        "run",
    ]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "0",
        "a=1",
        "1.5",
        "4",
        "1.5",
        done.folder,
    ]
    assert "failed" in lines[3]
    assert lines[3].rstrip(" |").endswith("It cannot be.")
    assert len({len(line) for line in lines}) == 1


@pytest.mark.timeout(600)
def test_a_sweep(digits: Corpus, tmp_path: Path) -> None:
    """Three learning rates, one of which no run can have, in an empty folder; a pipeline in each
    job would do the same."""
    command = [sys.executable, "-m", "nmt.train", "-m", "--config-dir", str(digits.conf)]
    settings = [*SMALL, "name=rates", "training.max_steps=4"]
    rates = "optimizer.learning_rate=0.001,-1,0.003"
    done = subprocess.run(
        [*command, *settings, rates],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "nmt-train: error: job 1 (optimizer.learning_rate=-1): `optimizer.learning_rate` must be "
        "greater than 0.0, but is -1 instead."
    )
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}, "hydra leaves nothing"
    folder = tmp_path / "runs" / "rates"
    names = [f"optimizer.learning_rate={rate}" for rate in ("0.001", "0.003")]
    assert sorted(path.name for path in folder.iterdir()) == ["multirun.yaml", *names]
    summaries = [json.loads((folder / name / "summary.json").read_text("utf-8")) for name in names]
    assert summaries[0]["identity"] != summaries[1]["identity"]
    assert summaries[0]["best_score"] != summaries[1]["best_score"]
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line, summary in zip((lines[2], lines[4]), summaries, strict=True):
        assert f"{summary['best_score']:.4g}" in line
        assert summary["folder"] in line
    assert "failed" in lines[3]


@pytest.mark.timeout(600)
def test_a_sweep_through_a_launcher_prints_its_table(digits: Corpus, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nmt.train", "-m", "--config-dir", str(digits.conf)]
    settings = [*SMALL, "name=rates", "training.max_steps=2", "hydra/launcher=joblib"]
    done = subprocess.run(
        [*command, *settings, "hydra.launcher.n_jobs=2", "optimizer.learning_rate=0.001,-1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    rows = {line.split("|")[2].strip(): line for line in lines[2:]}
    assert "failed" in rows["optimizer.learning_rate=-1"]
    assert "runs/rates/optimizer.learning_rate=0.001" in rows["optimizer.learning_rate=0.001"]
