"""Stages and replicas compute what one process computes.

Summing in another order moves fp32 gradients by about 1e-7 of their norm; the bounds leave room for
larger models, and would not hide a lost or doubled term.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nmt.run.processes import run_workers

pytestmark = pytest.mark.timeout(900)  # a minute alone on two cores; many where others work too

WORKER = Path(__file__).with_name("pipeline_worker.py")
ROOT = Path(__file__).parents[2]
Results = dict[str, list[dict[str, Any]]]


def run(processes: int, folder: Path) -> Results:
    """All jobs for so many processes; see pipeline_worker.py."""
    file = folder / "results.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        run_workers([sys.executable, str(WORKER), str(file)], processes, threads=1)
    results: Results = json.loads(file.read_text())
    return results


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(2, tmp_path_factory.mktemp("two"))


def check_equal(results: list[dict[str, Any]]) -> None:
    """Loss, norm, gradients, parameters and validation are those of one process."""
    assert results
    for case in results:
        name, double = case["case"], case["double"]
        assert case["initial"] == 0, name
        assert case["tokens"] == 0, name
        assert case["unchanged"], name
        validations = ("validation", "validation of the average", "validation of given weights")
        for quantity in ("loss", "norm", "later", *validations):
            assert case[quantity] < (1e-11 if double else 1e-6), (name, quantity)
        for quantity in ("gradients", "parameters", "average"):
            assert case[quantity] < (1e-11 if double else 1e-5), (name, quantity)


@pytest.mark.parametrize("stages", [1, 3])
def test_stages_micro_batches_dropout_and_ties_change_nothing(stages: int, tmp_path: Path) -> None:
    check_equal(run(stages, tmp_path)["equality"])


def test_two_stages_change_nothing(two: Results) -> None:
    check_equal(two["equality"])
    clipped = [case["clipped"] for case in two["equality"]]
    assert any(c > 1 for c in clipped), "some cases must reach the largest norm"
    assert any(c < 1 for c in clipped), "and some not"


def test_two_replicas_with_and_without_zero_change_nothing(two: Results) -> None:
    check_equal(two["sharding"])


def test_two_replicas_of_two_stages_change_nothing(tmp_path: Path) -> None:
    check_equal(run(4, tmp_path)["sharding"])


def test_bf16_on_replicas_and_stages_is_that_of_one_process(two: Results) -> None:
    for case in two["bf16 replicas"] + two["bf16 stages"]:
        assert case["initial"] == 0
        # Gradients of tied parameters are summed in bf16 in one process, in fp32 over stages.
        for quantity in ("loss", "norm", "parameters", "average", "validation of the average"):
            assert case[quantity] < 1e-3, quantity
        assert case["unchanged"]
        assert case["gradients"] < 1e-2


FIELDS = {
    "adam": ["exp_avg", "exp_avg_sq", "step"],
    "adagrad": ["step", "sum"],
    "adafactor": ["col_var", "row_var", "step", "variance"],
    "rule": ["mean_0", "mean_1", "step"],
}


@pytest.mark.parametrize("job", ["states", "states of replicas"])
def test_state_passes_between_executors_and_resumes_bit_for_bit(two: Results, job: str) -> None:
    assert two[job]
    for case in two[job]:
        assert case["through"], case
        assert case["back"], case
        assert case["resumed"], case
        assert case["keys"], case
        assert case["fields"] == FIELDS[case["optimizer"]]
    assert {case["optimizer"] for case in two[job]} == FIELDS.keys()


def test_what_cannot_be_run_is_an_error(two: Results) -> None:
    (said,) = two["talking"]
    assert said["processes"].startswith(
        "3 stages × 1 replicas need 3 processes, but there are 2; start as many"
    )
    assert said["bf16"].startswith(
        "`parallel.zero` must be 1 for bf16 on several replicas, but is 0 instead"
    )
    assert "each device one contiguous run of layers" in said["scattered"]
    assert "must be for `gnmt-tiny-60`, but is for `another`" in said["other"]


def test_processes_agree_with_the_main_one(two: Results) -> None:
    (said,) = two["talking"]
    assert said["from_main"] == {"value": 3}
    assert said["failing"] == "only the main process knows"
    assert said["shared"] == [[n, n % 2] for n in range(7)]


def test_what_fails_on_one_process_is_raised_on_all(two: Results) -> None:
    (said,) = two["talking"]
    assert said["failing share"] == "the second process cannot"
    assert said["broken share"] == (
        "All 2 workers must end well, but worker 1 raised ZeroDivisionError: division by zero"
    )
    assert said["both mistakes"] == "the first\nthe second"
