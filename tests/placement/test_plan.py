import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.errors import PlanError
from nmt.placement.plan import Plan, balanced_bounds, contiguous, single_device, task_costs
from nmt.placement.tasks import LayerInfo, TaskGraph

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
        "The plan must place exactly the layers of `graph`, but does not place `decoder`; "
        "make a new one."
    )


def test_a_layer_that_is_not_there() -> None:
    assert refused(changed(placement={**two_stages().placement, "more": 0})) == (
        "The plan must place exactly the layers of `graph`, but places `more`, which is not one "
        "of them; make a new one."
    )


@pytest.mark.parametrize("device", [2, -1])
def test_a_device_that_is_not_there(device: int) -> None:
    assert refused(changed(placement={**two_stages().placement, "output": device})) == (
        "The plan must place `output` on one of its 2 devices, numbered from 0, but places it on "
        f"device {device} instead."
    )


@pytest.mark.parametrize("order", [(0, 1, 0, 1), (1, 1, 0, 0), (0, 0, 0, 0)])
def test_stages_must_be_contiguous_runs(order: tuple[int, ...]) -> None:
    plan = changed(placement=dict(zip(LAYERS, order, strict=True)))
    with pytest.raises(PlanError) as raised:
        plan.stages(LAYERS)
    assert str(raised.value) == (
        "A plan for `parallel.executor=deepspeed` must give each device one contiguous run of "
        "layers, in the order of the devices, but this one does not."
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


# Costs


def test_without_costs_all_layers_are_alike() -> None:
    layers = {name: LayerInfo((), "source", True) for name in "ab"}
    costs = task_costs({}, {}, TaskGraph(layers, 1, 2))
    assert costs.forward == {"a": pytest.approx(1 / 6), "b": pytest.approx(1 / 6)}
    assert costs.backward == {"a": pytest.approx(1 / 3), "b": pytest.approx(1 / 3)}


def test_costs_are_shared_among_chunks() -> None:
    layers = {"a": LayerInfo((), "source", True), "b": LayerInfo((), "source", False)}
    costs = task_costs({"a": 6.0, "b": 6.0}, {"a": 3.0, "b": 1.0}, TaskGraph(layers, 1, 3))
    assert costs.forward == {"a": 1.0, "b": 1.0}
    assert costs.backward == {"a": 1.0, "b": 5.0}


@pytest.mark.parametrize("field", ["costs", "forward_costs"])
def test_costs_of_some_layers_only(field: str) -> None:
    """Seconds beside guesses: a layer of 3 s would stand beside real ones of milliseconds."""
    plan = changed(**{field: {"embedding": 0.001}})
    with pytest.raises(PlanError) as caught:
        plan.validate_against("graph", LAYERS)
    assert str(caught.value) == (
        f"The plan's `{field}` must have seconds for every layer, or be empty, but have none for "
        "`encoder`; make a new plan with `nmt-place`."
    )
    changed(**{field: {}}).validate_against("graph", LAYERS)


# Machines


def test_a_plan_over_two_machines() -> None:
    plan = changed(devices=["cuda:0", "cuda:0"], hosts=["a", "b"])
    plan.validate_against("graph", LAYERS)
    assert [plan.host_of(i) for i in range(2)] == ["a", "b"]
    assert "  1 b cuda:0:" in plan.table()
    with pytest.raises(PlanError, match="has them on a, b; start a process for each device with"):
        plan.require_one_host()
    changed(hosts=["a", "a"]).require_one_host()
    two_stages().require_one_host()
    assert two_stages().host_of(1) == ""


def test_hosts_that_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(two_stages().model_dump(mode="json") | {"hosts": ["a"]}))
    assert loading(file).endswith(
        "`hosts` must be empty or name a machine for each of 2 devices, but names 1 instead."
    )
