"""Searches as their users start them."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt.search.history import read_events
from tests.training.conftest import ROOT, SMALL, Corpus

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PLUGINS = ROOT / "nmt" / "search" / "plugins"
LIMITS = ("training.max_steps", "training.max_epochs", "schedule", "training.validate_sentences")
SETTINGS = [one for one in SMALL if not one.startswith(LIMITS)]
CHEAP = ["search.budget.by=tokens", "search.budget.child=600", "search.budget.children=6"]


@pytest.fixture
def command(digits: Corpus) -> list[str]:
    return [
        *(sys.executable, "-m", "nmt.train", "-m", "--config-dir", str(digits.conf)),
        *SETTINGS,
    ]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGINS)])}


@pytest.fixture
def run(command: list[str], environment: dict[str, str], tmp_path: Path) -> Run:
    """`nmt-train -m` on the corpus of numbers in an empty folder."""

    def run_it(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_it


def leaderboard(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(600)
def test_from_a_search_to_its_findings_elsewhere(run: Run, tmp_path: Path) -> None:
    done = run("hydra/sweeper=reinforce", "search=rules", "name=rules", *CHEAP)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "rules"
    rows = leaderboard(folder)
    assert len(rows) == 6
    whole = [row for row in rows if row["ended_by"] == "training.max_tokens"]
    pruned = [row for row in rows if row["ended_by"] == "training.halving"]
    assert whole
    assert len(whole) + len(pruned) == 6
    assert all(int(row["tokens"]) >= 600 for row in whole)
    assert all(int(row["tokens"]) < 600 for row in pruned)
    for row in rows:
        child = tmp_path / row["folder"]
        assert (child / "child.log").stat().st_size > 0
        assert (child / "metrics.jsonl").exists()
        assert not (child / "best").exists(), "children leave no weights"
        assert not (child / "checkpoints").exists()
    assert "| child | loss" in done.stdout
    assert "Page: runs/rules/page.html" in done.stdout
    assert "resource_tracker" not in done.stderr
    assert "reinforce: 0 of 6 children" in done.stderr
    said = next(line for line in done.stdout.splitlines() if "--config-dir" in line)
    assert said.strip() == ("nmt-train --config-dir runs/rules/winner optimizer=found data=digits")

    again = run("hydra/sweeper=reinforce", "search=rules", "name=rules", *CHEAP)
    assert again.returncode == 0, again.stderr
    assert leaderboard(folder) == rows, "there is nothing left to do"

    other = run("hydra/sweeper=random", "search=rules", "name=rules", *CHEAP)
    assert other.returncode == 2
    assert "`runs/rules` holds another search (`method.method` was" in other.stderr.replace(
        str(tmp_path) + "/", ""
    )
    assert leaderboard(folder) == rows

    transfer = run(
        *("hydra/sweeper=transfer", "search.transfer.search=runs/rules", "name=elsewhere"),
        *("search.transfer.test=test", "search.transfer.start=false", "model.hidden_size=12"),
        *("training.max_epochs=null", "training.max_steps=6", "seed=1,2"),
    )
    assert transfer.returncode == 0, transfer.stderr
    assert "| finding" in transfer.stdout
    assert "2 runs, of which 0 have ended" in transfer.stderr
    assert transfer.stderr.count("training begins in ") == 2
    assert "2 of 2: runs/elsewhere/start-" in transfer.stderr.replace(str(tmp_path) + "/", "")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "Elsewhere" in page
    with (folder / "transfers.csv").open(encoding="utf-8", newline="") as file:
        trained = list(csv.DictReader(file))
    assert [row["settings"] for row in trained] == ["seed=1", "seed=2"]
    for row in trained:
        test = json.loads((tmp_path / row["run"] / "test.json").read_text("utf-8"))
        assert float(row["test_bleu"]) == pytest.approx(test["bleu"], abs=0.01)
        assert (tmp_path / row["run"] / "best" / "model.yaml").exists()


@pytest.mark.timeout(600)
def test_a_found_cell_trains_and_translates(run: Run, tmp_path: Path, digits: Corpus) -> None:
    done = run("hydra/sweeper=evolution", "search=cells", "name=cells", *CHEAP)
    assert done.returncode == 0, done.stderr
    winner = tmp_path / "runs" / "cells" / "winner"
    assert "model.cell" in done.stdout
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGINS)])}
    trained = subprocess.run(
        [
            *(sys.executable, "-m", "nmt.train", "--config-dir", str(winner)),
            f"hydra.searchpath=[{digits.conf}]",
            *(one for one in SMALL if not one.startswith("model.")),
            *("name=found", "model=found", "training.max_steps=4"),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "runs" / "found" / "best" / "model.safetensors").exists()


@pytest.mark.timeout(600)
def test_the_command_line_makes_fixes_and_narrows_dimensions(run: Run, tmp_path: Path) -> None:
    done = run(
        *("hydra/sweeper=optuna", "search=rules", "name=narrow", *CHEAP, "search.start=[]"),
        *("optimizer.rule='sign(m)'", "optimizer.learning_rate=0.001,0.003"),
        *("model.dropout=0.1,0.2", "model.residual=gnmt"),
    )
    assert done.returncode == 0, done.stderr
    events = list(read_events(tmp_path / "runs" / "narrow"))
    found = {tuple(one["values"].items()) for one in events if one["event"] == "child"}
    assert found == {
        (("optimizer.learning_rate", rate), ("model.dropout", dropout))
        for rate in (0.001, 0.003)
        for dropout in (0.1, 0.2)
    }, "all points of the narrowed space, and no other"
    config = (tmp_path / "runs" / "narrow" / "0001" / "config.yaml").read_text("utf-8")
    assert "rule: sign(m)" in config
    assert "residual: gnmt" in config


@pytest.mark.timeout(600)
def test_through_a_launcher_of_hydra(run: Run, tmp_path: Path) -> None:
    done = run(
        *("hydra/sweeper=random", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *CHEAP),
        *("name=launched", "search.budget.children=3", "model.hidden_size=8,12,16"),
    )
    assert done.returncode == 0, done.stderr
    rows = leaderboard(tmp_path / "runs" / "launched")
    assert {row["model.hidden_size"] for row in rows} == {"8", "12", "16"}
    assert all(row["loss"] for row in rows)


@pytest.mark.timeout(600)
def test_children_fail_singly(run: Run, tmp_path: Path) -> None:
    done = run(
        *("hydra/sweeper=random", "name=failing", *CHEAP),
        *("optimizer=rule", "optimizer.rule='sign(m)','g * 1e30 * 1e15'", "model.hidden_size=8,12"),
        *("search.pruning.rungs=[]", "search.budget.children=4", "search.worst=8"),
    )
    assert done.returncode == 0, done.stderr
    rows = leaderboard(tmp_path / "runs" / "failing")
    assert len(rows) == 4
    failed = [row for row in rows if row["error"]]
    assert [row["optimizer.rule"] for row in failed] == ["g * 1e30 * 1e15"] * 2
    for row in failed:
        assert "must be finite" in row["error"]
        assert float(row["reward"]) == -8
        assert "must be finite" in (tmp_path / row["folder"] / "child.log").read_text("utf-8")


@pytest.mark.timeout(600)
def test_a_killed_search_goes_on(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    whole = [
        *command,
        *("hydra/sweeper=evolution", "search=rules", "name=killed", *CHEAP),
        *("search.budget.children=10", "search.budget.child=1500"),
    ]
    folder, rng = tmp_path / "runs" / "killed", random.Random(3)
    for _ in range(2):
        with subprocess.Popen(
            whole, cwd=tmp_path, env=environment, stdout=-3, stderr=-3, start_new_session=True
        ) as process:
            first = len(list(read_events(folder)))
            until = first + rng.randint(2, 6)
            while process.poll() is None and len(list(read_events(folder))) < until:
                time.sleep(0.01)
            time.sleep(rng.random() * 0.3)
            os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(
        whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    events = list(read_events(folder))
    for kind in ("child", "end"):
        numbers = sorted(one["number"] for one in events if one["event"] == kind)
        assert numbers == list(range(1, 11)), kind
    assert len(leaderboard(folder)) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search=rules"], "`search=rules` must be used with a method"),
        (["hydra/sweeper=random"], "`search.space` must have at least one setting to search"),
        (["hydra/sweeper=simplex"], "Could not find 'hydra/sweeper/simplex'"),
        (
            ["hydra/sweeper=random", "search=rules", "search.space.no=3"],
            "`search.space.no` is not a setting of nmt-train",
        ),
        (
            [
                *("hydra/sweeper=random", "optimizer.learning_rate=0.1,0.2"),
                *("search.budget.total=5", "search.budget.child=20"),
            ],
            "`total` must be enough for one child (20 seconds), but is 5 instead",
        ),
        (
            ["hydra/sweeper=random", "search=rules", "search.budget.children=0"],
            "`search.budget.children` must be at least 1",
        ),
        (
            ["hydra/sweeper=random", "search=rules", "search.start=[{optimizer.rule:'cos(g)'}]"],
            "cannot be written in 3 steps",
        ),
        (
            ["hydra/sweeper=random", "search=rules", "search.workers=1,2"],
            "`search.workers` must have one value",
        ),
        (
            ["hydra/sweeper=random", "model.dropuot=0.1,0.2"],
            "`model.dropuot` is not a setting",
        ),
        (["hydra/sweeper=random", "model.dropout=0.1,1.5"], "must be less than 1.0"),
        (
            ["hydra/sweeper=transfer"],
            "`search.transfer.search` must be the folder of a search, but is null",
        ),
        (
            ["hydra/sweeper=transfer", "search.transfer.search=nowhere"],
            "`nowhere` must be the folder of a search, but has no search.json",
        ),
        (
            ["hydra/sweeper=random", "search=rules", "search.compare=[nowhere]"],
            "`nowhere` must be the folder of a search",
        ),
    ],
)
def test_mistakes_are_sentences(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run("name=wrong", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left in ([], ["multirun.yaml"]), "hydra's own sweeper leaves one"
