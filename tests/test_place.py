"""`nmt-place` as its users call it, but in this process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from nmt.command import compose_values
from nmt.config import ClusterConfig, PlaceConfig, TrainConfig, read
from nmt.errors import ConfigurationError, PlanError
from nmt.place import find_profile, place, train_config
from nmt.placement.plan import Plan
from nmt.run.executors import follow_plan

ROOT = Path(__file__).parents[1]
SMALL = ("model.hidden_size=16", "data.vocabulary.size=400", "data.batch.tokens=200")


@pytest.fixture(autouse=True)
def _fast(one_thread: None) -> None:
    """See there."""


def settings(folder: Path, *overrides: str) -> PlaceConfig:
    paths = (f"output={folder / 'out'}", f"data.cache={folder / 'cache'}")
    return read(PlaceConfig, compose_values("place", *SMALL, *paths, *overrides))


def published() -> str:
    return f"profile={Path(os.environ['NMT_CORPORA']) / 'pipedream-gnmt' / 'graph.txt'}"


def test_planning_with_measured_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    config = settings(tmp_path, "micro_batches=[2,4]", "placement.evaluations=100")
    place(config)
    plan = Plan.load(tmp_path / "out" / "plan.json")
    assert plan.micro_batches in (2, 4)
    assert plan.seconds is not None
    assert f"predicted: {1e3 * plan.seconds:.1f} ms a step" in capsys.readouterr().out
    for name in ("profile.json", "predicted.html", "predicted.png", "predicted.json"):
        assert (tmp_path / "out" / name).exists()
    # The same again does not measure again: costs are the same to the last digit.
    again = find_profile(config, [(2, 1), (4, 1)])
    assert again.layer_seconds() == {name: pytest.approx(cost) for name, cost in plan.costs.items()}

    training = train_config(config, tmp_path / "out" / "plan.json")
    assert training.parallel.micro_batches == plan.micro_batches
    assert training.parallel.stages == len(plan.devices)


def test_training_follows_a_plan_s_devices_and_cuts(tmp_path: Path) -> None:
    plan = Plan(
        graph="g",
        devices=["cpu"] * 3,
        placement={"a": 0, "b": 1, "c": 2},
        micro_batches=4,
        chunks=2,
        schedule="gpipe",
    )
    file = tmp_path / "plan.json"
    plan.save(file)
    overrides = ("parallel=wavefront", "placement=file", f"placement.file={file}")
    config = follow_plan(read(TrainConfig, compose_values("train", *overrides)))
    assert (config.parallel.stages, config.parallel.micro_batches) == (3, 4)
    assert (config.parallel.chunks, config.parallel.rule) == (2, "gpipe")
    with pytest.raises(PlanError, match="must have 1 chunk with `parallel=deepspeed`, but has 2 "):
        follow_plan(
            read(TrainConfig, compose_values("train", "parallel=deepspeed", *overrides[1:]))
        )
    plan.model_copy(update={"micro_batches": 3}).save(file)
    with pytest.raises(ConfigurationError, match=r"must be a multiple of .parallel\.replicas"):
        follow_plan(read(TrainConfig, compose_values("train", *overrides)))


def test_planners_are_compared_on_a_published_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place(
        settings(
            tmp_path,
            "mode=compare",
            published(),
            "cluster=gpus4",
            "objective=bottleneck",
            "planners=[equal_layers,exact,annealing]",
            "placement.evaluations=300",
            "seeds=2",
        )
    )
    assert "| exact | 25.9 | 3.457 |" in capsys.readouterr().out
    values = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert [(one["planner"], len(one["attempts"])) for one in values] == [
        ("equal_layers", 1),
        ("exact", 1),
        ("annealing", 2),
    ]
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_link_between_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(settings(tmp_path, "mode=probe"))
    cluster = read(ClusterConfig, yaml.safe_load(capsys.readouterr().out))
    assert len(cluster.devices) >= 2
    assert 1e-6 < cluster.link.latency < 0.1
    assert 0.01 < cluster.link.bandwidth < 1000


def test_what_layers_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    place(settings(tmp_path, "mode=profile", "micro_batches=[1]"))
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| encoder.") for line in lines) == 3
    parts = [float(line.split("|")[4].strip(" %")) for line in lines if line.startswith("| enc")]
    assert all(part > 1 for part in parts)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`profile` must be null with `measured`"):
        settings(tmp_path, "measured=true", "profile=x.json")
    with pytest.raises(ConfigurationError, match="`shards` must be 0 with `measured`"):
        settings(tmp_path, "measured=true", "shards=2")
    with pytest.raises(ConfigurationError, match="`file` must be set with the planner `file`"):
        settings(tmp_path, "placement=exact", "placement.file=x.json")
    with pytest.raises(PlanError, match="must be a profile, but cannot be read"):
        place(settings(tmp_path, "profile=missing.json"))


def test_a_plan_is_placed_by_the_names_of_its_devices(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    place(settings(tmp_path, published(), "cluster=gpus4", "placement=exact", "micro_batches=[4]"))
    made = Plan.load(tmp_path / "out" / "plan.json")
    moved = made.model_copy(update={"devices": [f"cuda:{i}" for i in (3, 2, 1, 0)]})
    moved.save(file)
    again = ("placement=file", f"placement.file={file}", published(), "micro_batches=[4]")
    place(settings(tmp_path, *again, "cluster=gpus4"))
    found = Plan.load(tmp_path / "out" / "plan.json")
    assert {name: found.device_of(name) for name in found.placement} == {
        name: moved.device_of(name) for name in moved.placement
    }
    assert found.seconds == pytest.approx(made.seconds), "the devices are alike"
    with pytest.raises(PlanError, match="must be for devices of `cluster=cpus2`"):
        place(settings(tmp_path, *again, "cluster=cpus2"))
    with pytest.raises(PlanError, match="must include 4 and 1, the numbers of"):
        place(settings(tmp_path, *again[:3], "cluster=gpus4", "micro_batches=[2]"))


def test_a_policy_learns_from_models_and_places_a_deeper_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    learning = ("placement=reinforce", "placement.learning.samples=4")
    small = ("pretrain.layers=[2,3]", "pretrain.updates=20", "micro_batches=[2]")
    place(settings(tmp_path, "mode=pretrain", *small, *learning))
    assert "Trained on 80 plans for 2 models." in capsys.readouterr().out
    policy = f"placement.policy={tmp_path / 'out' / 'policy.safetensors'}"
    deeper = ("model.encoder_layers=4", "model.decoder_layers=4", "micro_batches=[2]")
    place(settings(tmp_path, "placement=policy", policy, "placement.evaluations=8", *deeper))
    assert "simulated" in capsys.readouterr().out
    assert "encoder.3" in Plan.load(tmp_path / "out" / "plan.json").placement
    with pytest.raises(ConfigurationError, match="`profile` must be null with `mode=pretrain`"):
        settings(tmp_path, "mode=pretrain", "profile=x.json")
    with pytest.raises(ConfigurationError, match=r"`placement\.policy` must be set if"):
        settings(tmp_path, "mode=compare", "planners=[policy]")


def test_learning_from_models_that_cannot_be(tmp_path: Path) -> None:
    mistake = r"^`pretrain\.layers\.0` must be at least 2, but is 1 instead\.$"
    with pytest.raises(ConfigurationError, match=mistake):
        settings(tmp_path, "mode=pretrain", "pretrain.layers=[1]")
