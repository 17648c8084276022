"""Any graph, by any plan, on any number of devices computes what one process computes."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config import GnmtConfig
from nmt.errors import PlanError, WorkerError
from nmt.model.gnmt import gnmt
from nmt.model.graph import LayerGraph
from nmt.parallel.measure import layers_of
from nmt.placement.expert import folded
from nmt.placement.plan import Plan, contiguous_stages
from nmt.run.processes import run_workers
from tests.cells import OWN
from tests.parallel.random_plans import (
    VOCABULARY,
    adam,
    copied,
    distance,
    local,
    random_batch,
    random_graph,
    random_plan,
    sgd,
    wavefront,
)

ROOT = Path(__file__).parents[2]
QUANTITIES = (
    "loss",
    "norm",
    "gradients",
    "state",
    "validation",
    "average",
    "validation of the average",
    "later",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("seed", range(40))
def test_one_process_drives_all_devices(seed: int) -> None:
    chance = random.Random(1000 + seed)
    graph = random_graph(chance)
    plan = random_plan(chance, graph, chance.randint(1, 4))
    ours, reference = wavefront(graph, plan, sgd()), local(graph, plan.micro_batches, sgd())
    try:
        for step in range(2):
            a, b = (e.train_step(random_batch(step), step, 0.1) for e in (ours, reference))
            assert a.loss == pytest.approx(b.loss, rel=1e-12)
            assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-12)
            assert a.tokens == b.tokens
            assert distance(ours.gather_gradients(), reference.gather_gradients()) < 1e-11
            assert distance(ours.gather_parameters(), reference.gather_parameters()) < 1e-11
        valid = [random_batch(10 + i, rows=3) for i in range(5)]
        assert ours.validation_loss(valid) == pytest.approx(
            reference.validation_loss(valid), rel=1e-12
        )
    finally:
        ours.close()


def gnmt_graph(tie: str, cell: str = "lstm", bidirectional: int = 1) -> LayerGraph:
    model = GnmtConfig(
        name="t",
        architecture="gnmt",
        cell=cell,
        encoder_layers=3,
        decoder_layers=3,
        hidden_size=16,
        dropout=0.2,
        embedding_dropout=0.1,
        residual="full",
        bidirectional_layers=bidirectional,
        context="all" if bidirectional == 1 else "first",
        normalisation="none" if bidirectional == 1 else "layer",
        attention="additive" if bidirectional == 1 else "dot",
        attention_heads=bidirectional,
        tie=tie,  # type: ignore[arg-type]
    )
    return gnmt(model, VOCABULARY)


def gnmt_placement(graph: LayerGraph, kind: str) -> dict[str, int]:
    costs = dict.fromkeys(graph.names, 1.0)
    match kind:
        case "contiguous":
            return contiguous_stages(costs, 3)
        case "folded":
            return folded(layers_of(graph), costs, 3)
        case _:
            return random_plan(random.Random(4), graph, 3).placement


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tie", ["none", "target", "all"])
@pytest.mark.parametrize("chunks", [1, 2, 4])
@pytest.mark.parametrize("placement", ["contiguous", "folded", "random"])
def test_gnmt(placement: str, chunks: int, tie: str, dtype: torch.dtype) -> None:
    check_gnmt(gnmt_graph(tie), placement, chunks, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("cell", OWN.values(), ids=OWN)
def test_gnmt_with_a_cell_of_one_s_own(cell: str, chunks: int, dtype: torch.dtype) -> None:
    check_gnmt(gnmt_graph("all", cell), "random", chunks, dtype)


@pytest.mark.parametrize("placement", ["contiguous", "folded", "random"])
def test_gnmt_with_other_connections(placement: str) -> None:
    check_gnmt(gnmt_graph("none", bidirectional=2), placement, 2, torch.float64)


def check_gnmt(graph: LayerGraph, placement: str, chunks: int, dtype: torch.dtype) -> None:
    plan = Plan(
        graph=graph.name,
        devices=["cpu"] * 3,
        placement=gnmt_placement(graph, placement),
        micro_batches=4,
        chunks=chunks,
        schedule="wavefront",
    )
    ours, reference = wavefront(graph, plan, adam(), dtype), local(graph, 4, adam(), dtype)
    bound = 1e-11 if dtype == torch.float64 else 1e-5
    for step in range(3 if dtype == torch.float64 else 1):
        a, b = (e.train_step(random_batch(step), step, 0.01) for e in (ours, reference))
        assert a.loss == pytest.approx(b.loss, rel=bound / 10)
        assert distance(ours.gather_gradients(), reference.gather_gradients()) < bound
    if dtype == torch.float64:
        assert distance(ours.gather_parameters(), reference.gather_parameters()) < bound
    ours.close()


def run(
    tmp_path: Path, devices: int, replicas: int, cases: int, kind: str = "cpu"
) -> list[dict[str, Any]]:
    file = tmp_path / "results.json"
    worker = Path(__file__).with_name("wavefront_worker.py")
    command = [sys.executable, worker, file, devices, replicas, cases, kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        run_workers([str(word) for word in command], devices * replicas, threads=1)
    results: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    assert len(results) == cases
    return results


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("devices", "replicas", "cases"), [(2, 1, 24), (3, 1, 16), (4, 1, 12), (2, 2, 8)]
)
def test_a_process_for_each_device(tmp_path: Path, devices: int, replicas: int, cases: int) -> None:
    for found in run(tmp_path, devices, replicas, cases):
        # In fp32, where the terms of a small gradient all but cancel, their rounding errors do not.
        bound = 1e-11 if found["double"] else 1e-4
        for quantity in QUANTITIES:
            assert found[quantity] < bound, (quantity, found["case"])


@needs_gpu
@pytest.mark.parametrize("seed", range(8))
def test_one_gpu_plays_several_devices(seed: int) -> None:
    chance, mixed = random.Random(1000 + seed), seed % 2 == 1
    graph = random_graph(chance, (0.0,) if mixed else (0.3,))  # a CPU draws other masks
    plan = random_plan(chance, graph, 3, "cuda:0")
    if mixed:
        plan = plan.model_copy(update={"devices": ["cuda:0", "cpu", "cuda:0"]})
    reference = local(graph, plan.micro_batches, sgd(), device="cuda:0")
    ours = wavefront(graph, plan, sgd())
    for step in range(2):
        a, b = (e.train_step(random_batch(step), step, 0.1) for e in (ours, reference))
        assert a.loss == pytest.approx(b.loss, rel=1e-10)
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-10)
        assert distance(ours.gather_parameters(), reference.gather_parameters()) < 1e-9
    ours.close()


@needs_gpu
def test_processes_share_a_gpu(tmp_path: Path) -> None:
    for found in run(tmp_path, 2, 1, 6, "cuda:0"):
        bound = 1e-9 if found["double"] else 1e-3
        for quantity in QUANTITIES:
            assert found[quantity] < bound, (quantity, found["case"])


def test_a_state_goes_from_plan_to_plan() -> None:
    chance = random.Random(5)
    graph = random_graph(chance)
    one, other = (random_plan(chance, graph, devices) for devices in (2, 3))
    first, second = wavefront(graph, one, sgd()), wavefront(graph, other, sgd())
    first.train_step(random_batch(0), 0, 0.1)
    second.load_state_dict(copied(first.state_dict()))
    assert distance(second.state_dict(), first.state_dict()) == 0
    first.close()


def whole_norm(values: Mapping[str, torch.Tensor]) -> float:
    return float(sum(value.square().sum() for value in values.values()) ** 0.5)


def test_bf16_is_that_of_one_process() -> None:
    chance = random.Random(8)
    graph = random_graph(chance)
    plan = random_plan(chance, graph, 2)
    ours = wavefront(graph, plan, sgd(), torch.bfloat16)
    reference = local(graph, plan.micro_batches, sgd(), torch.bfloat16)
    start = copied(reference.gather_parameters())
    for step in range(2):
        a, b = (e.train_step(random_batch(step), step, 0.1) for e in (ours, reference))
        assert a.loss == pytest.approx(b.loss, rel=1e-3)
    # All together: a gradient that is nothing but rounding has its direction by chance.
    moved = {name: value - start[name] for name, value in reference.gather_parameters().items()}
    apart = {
        name: value - start[name] - moved[name] for name, value in ours.gather_parameters().items()
    }
    assert whole_norm(apart) < 0.03 * whole_norm(moved)
    assert {value.dtype for value in ours.state_dict().values()} == {torch.float32}
    ours.close()


def test_a_process_that_dies_stops_the_others() -> None:
    code = f"""
import os, random, sys, torch
sys.path.insert(0, {str(ROOT)!r})
from tests.parallel.random_plans import random_batch, random_graph, random_plan, sgd, wavefront
chance = random.Random(1)
graph = random_graph(chance)
ours = wavefront(graph, random_plan(chance, graph, 2), sgd())
ours.train_step(random_batch(0), 0, 0.1)
if os.environ["RANK"] == "1":
    os._exit(3)
ours.train_step(random_batch(1), 1, 0.1)
raise SystemExit("went on alone")
"""
    start = time.monotonic()
    with pytest.raises(WorkerError, match="worker 1 ended with exit code 3"):
        run_workers([sys.executable, "-c", code], 2, threads=1)
    assert time.monotonic() - start < 60


def test_plans_that_do_not_fit() -> None:
    chance = random.Random(2)
    graph = random_graph(chance)
    plan = random_plan(chance, graph, 2)
    with pytest.raises(PlanError, match="A task must be written like"):
        wavefront(graph, plan.model_copy(update={"tasks": [["x"], []]}), sgd())
    with pytest.raises(
        PlanError, match="each task exactly once, but lacks `forward source_embedding 0 0`"
    ):
        wavefront(graph, plan.model_copy(update={"tasks": [[], []]}), sgd())
    with pytest.raises(PlanError, match="needs 4 processes, or 2, but there are 1"):
        wavefront(graph, plan, sgd(), replicas=2)
    lonely = dict.fromkeys(graph.names, 0)
    with pytest.raises(PlanError, match="a layer on each of its 2 devices, but device 1 has none"):
        wavefront(graph, plan.model_copy(update={"placement": lonely}), sgd())
