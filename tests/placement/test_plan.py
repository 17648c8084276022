import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.errors import PlanError
from nmt.placement.plan import Plan, balanced_bounds, contiguous, single_device

LAYERS = ["embedding", "encoder", "decoder", "output"]
COSTS = {"embedding": 1.0, "encoder": 4.0, "decoder": 3.0, "output": 2.0}


def two_stages() -> Plan:
    return contiguous("graph", COSTS, ["cuda:0", "cuda:1"], 4)


def loading(file: Path) -> str:
    with pytest.raises(PlanError) as raised:
        Plan.load(file)
    return str(raised.value)


# Stages of equal cost


def largest(costs: list[float], bounds: list[int]) -> float:
    return max(sum(costs[a:b]) for a, b in pairwise(bounds))


def brute_force(costs: list[float], parts: int) -> float:
    inner = combinations(range(1, len(costs)), parts - 1)
    return min(largest(costs, [0, *cuts, len(costs)]) for cuts in inner)


@given(
    st.lists(st.floats(0, 1000, allow_subnormal=False), min_size=1, max_size=8).flatmap(
        lambda costs: st.tuples(st.just(costs), st.integers(1, len(costs)))
    )
)
def test_bounds_equal_brute_force(problem: tuple[list[float], int]) -> None:
    costs, parts = problem
    bounds = balanced_bounds(costs, parts)
    assert len(bounds) == parts + 1
    assert (bounds[0], bounds[-1]) == (0, len(costs))
    assert all(a < b for a, b in pairwise(bounds))
    assert largest(costs, bounds) == pytest.approx(brute_force(costs, parts))


def test_bounds_by_hand() -> None:
    assert balanced_bounds([1, 4, 3, 2], 1) == [0, 4]
    assert balanced_bounds([1, 4, 3, 2], 2) == [0, 2, 4]
    assert balanced_bounds([2, 4, 3, 2], 3) == [0, 1, 2, 4]
    assert balanced_bounds([1, 4, 3, 2], 4) == [0, 1, 2, 3, 4]


def test_more_stages_than_layers() -> None:
    with pytest.raises(PlanError) as raised:
        balanced_bounds([1.0, 2.0], 3)
    assert str(raised.value) == (
        "`parallel.stages` must be at most 2, the number of layers, but is 3 instead."
    )


def test_contiguous_stages() -> None:
    plan = two_stages()
    assert plan.placement == {"embedding": 0, "encoder": 0, "decoder": 1, "output": 1}
    assert plan.schedule == "1f1b"
    assert plan.micro_batches == 4
    assert plan.costs == COSTS
    assert plan.device_of("encoder") == "cuda:0"
    assert plan.stages(LAYERS) == [["embedding", "encoder"], ["decoder", "output"]]
    plan.validate_against("graph", LAYERS)


def test_one_device() -> None:
    plan = single_device("graph", LAYERS, "cpu", 2)
    assert plan.stages(LAYERS) == [LAYERS]
    assert (plan.devices, plan.schedule, plan.micro_batches) == (["cpu"], "sequential", 2)
    assert contiguous("graph", COSTS, ["cpu"], 2).schedule == "sequential"


def test_a_table_for_people() -> None:
    lines = two_stages().table().splitlines()
    assert lines[-2].split() == "0 cuda:0: 50% of the time embedding encoder".split()  # noqa: SIM905
    assert lines[-1].split() == "1 cuda:1: 50% of the time decoder output".split()  # noqa: SIM905
    assert "of the time" not in single_device("graph", LAYERS, "cpu").table()


# Does a plan fit its graph?


def changed(**values: Any) -> Plan:
    return Plan.model_validate({**two_stages().model_dump(), **values})


def refused(plan: Plan) -> str:
    with pytest.raises(PlanError) as raised:
        plan.validate_against("graph", LAYERS)
    return str(raised.value)


def test_another_graph() -> None:
    assert refused(changed(graph="other")) == (
        "The plan must be for `graph`, but is for `other` instead; make a new one."
    )


def test_a_layer_without_a_device() -> None:
    placement = {"embedding": 0, "encoder": 0, "output": 1}
    assert refused(changed(placement=placement)) == (
        "The plan must place each layer of `graph` once, but gives `decoder` no device."
    )


def test_a_layer_that_is_not_there() -> None:
    assert refused(changed(placement={**two_stages().placement, "more": 0})) == (
        "The plan must place each layer of `graph` once, but names `more`."
    )


@pytest.mark.parametrize("device", [2, -1])
def test_a_device_that_is_not_there(device: int) -> None:
    assert refused(changed(placement={**two_stages().placement, "output": device})) == (
        f"The plan must put `output` on one of its 2 devices, but puts it on number {device} "
        "instead."
    )


@pytest.mark.parametrize("order", [(0, 1, 0, 1), (1, 1, 0, 0), (0, 0, 0, 0)])
def test_stages_must_be_contiguous_runs(order: tuple[int, ...]) -> None:
    plan = changed(placement=dict(zip(LAYERS, order, strict=True)))
    with pytest.raises(PlanError) as raised:
        plan.stages(LAYERS)
    assert str(raised.value) == (
        "A plan for `parallel.executor=deepspeed` must give each device one contiguous run of "
        "layers, in the devices' order, but this one does not."
    )


# The file


@given(
    st.dictionaries(st.text(min_size=1), st.integers(0, 1)),
    st.integers(1, 64),
    st.dictionaries(st.text(), st.floats(0, 1e3)),
)
def test_json_both_ways(
    placement: dict[str, int], micro_batches: int, costs: dict[str, float]
) -> None:
    plan = changed(placement=placement, micro_batches=micro_batches, costs=costs)
    assert Plan.model_validate(json.loads(json.dumps(plan.model_dump(mode="json")))) == plan


def test_saved_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    two_stages().save(file)
    assert Plan.load(file) == two_stages()
    assert Plan.load(str(file)) == two_stages()
    assert json.loads(file.read_text(encoding="utf-8"))["placement"]["decoder"] == 1


def test_no_such_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert loading(file) == f"`{file}` must be a plan, but there is no such file."


def test_a_folder_is_not_a_plan(tmp_path: Path) -> None:
    assert loading(tmp_path).startswith(f"`{tmp_path}` must be a plan, but cannot be read: ")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff"])
def test_not_json(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(content)
    assert loading(file).startswith(f"`{file}` must be a plan in JSON, but is not: ")


def test_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text("[1]", encoding="utf-8")
    assert loading(file) == f"`{file}` must be a plan, but holds [1] instead."


def test_mistakes_in_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    values = two_stages().model_dump(mode="json")
    values.update(devices=[], micro_batches=0, chunks=0, speed=1)
    del values["graph"]
    file.write_text(json.dumps(values), encoding="utf-8")
    assert loading(file).splitlines() == [
        f"`{file}` is not a plan: `graph` must be set, but is missing.",
        "`devices` must not be empty.",
        "`micro_batches` must be at least 1, but is 0 instead.",
        "`chunks` must be at least 1, but is 0 instead.",
        "`speed` is not a setting; remove it or check its spelling.",
    ]
