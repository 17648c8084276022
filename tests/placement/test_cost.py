from __future__ import annotations

import os
from pathlib import Path

import pytest

from nmt.errors import PlanError
from nmt.placement.cost import PLAUSIBLE, Profile, TaskCosts, from_pipedream
from tests.placement.problems import chain

NODE = (
    "{} -- {} -- forward_compute_time={}, backward_compute_time={}, activation_size={}, "
    "parameter_size={}\n"
)
PIPEDREAM = (
    NODE.format("node2", "LSTM(4, 4)", "2.000", "4.000", "[8.0; 2.0; 2.0]", "64.000")
    + NODE.format("node1", "Input0", "0.000", "0.000", "0.0", "0.000")
    + "\tnode1 -- node2\n"
)


def test_pipedream_s_format() -> None:
    profile = from_pipedream(PIPEDREAM, "gnmt/graph.txt")
    assert profile.graph == "gnmt"
    assert list(profile.layers) == ["node1", "node2"], "after what it reads"
    lstm = profile.layers["node2"]
    assert (lstm.kind, lstm.inputs, lstm.output_bytes, lstm.parameter_bytes) == (
        "LSTM",
        ["node1"],
        12.0,
        64.0,
    )
    assert profile.layer_seconds() == {"node1": 0.0, "node2": pytest.approx(0.006)}


def test_the_published_profile() -> None:
    profile = Profile.load(Path(os.environ["NMT_CORPORA"]) / "pipedream-gnmt" / "graph.txt")
    assert len(profile.layers) == 48
    assert sum(profile.layer_seconds().values()) == pytest.approx(0.0894, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a profile, but has no node"),
        ("what is this", "line 1, must be a node or an edge"),
        ("node1 -- X -- forward_compute_time=1.0", "line 1, must have four figures"),
        (PIPEDREAM + "\tnode2 -- node9\n", "names `node9`, which is not a node"),
        (PIPEDREAM + "\tnode2 -- node1\n", "must not form a cycle"),
    ],
)
def test_what_is_wrong_with_a_profile(text: str, sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        from_pipedream(text, "graph.txt")


def test_saved_and_read_again(tmp_path: Path) -> None:
    profile = chain([1.0, 2.0])
    profile.save(tmp_path / "new" / "profile.json")
    assert Profile.load(tmp_path / "new" / "profile.json") == profile


@pytest.mark.parametrize("text", ["[]", "{", '{"graph": "x"}'])
def test_a_file_that_is_no_profile(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match="must be a profile in JSON"):
        Profile.load(tmp_path / "p.json")
    with pytest.raises(PlanError, match="must be a profile, but cannot be read"):
        Profile.load(tmp_path / "missing.json")


def test_a_granularity_that_was_not_measured_comes_from_the_nearest() -> None:
    profile = chain([3.0])
    measured = TaskCosts(micro_batches=4, chunks=1, forward={"a": 0.5}, backward={"a": 1.0})
    profile = profile.model_copy(update={"measurements": [*profile.measurements, measured]})
    assert profile.seconds(4, 1) == measured
    assert profile.seconds(8, 1).forward["a"] == 0.25
    assert profile.seconds(4, 2).backward["a"] == 0.5
    assert profile.seconds(1, 1).forward["a"] == 1.0


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("forward_compute_time=2.000", "forward_compute_time=fast", "must have four figures"),
        ("parameter_size=64.000", "parameter_size=", "must have four figures"),
        (" -- forward_compute_time", " forward_compute_time", "must be a node or an edge"),
        ("\tnode1", "\tnode7", "names `node7`, which is not a node"),
    ],
)
def test_damaged_lines(old: str, new: str, sentence: str) -> None:
    assert old in PIPEDREAM
    with pytest.raises(PlanError, match=sentence):
        from_pipedream(PIPEDREAM.replace(old, new), "graph.txt")


def test_sizes_must_have_been_measured() -> None:
    with pytest.raises(
        PlanError, match="must have been measured with 4 micro-batches and 2 chunks"
    ):
        chain([1.0]).factors(4, 2, [{"sentences": 1, "source": 5}])


def test_whole_costs_are_those_of_all_tasks() -> None:
    profile = chain([3.0])
    coarse = TaskCosts(micro_batches=4, chunks=2, forward={"a": 0.1}, backward={"a": 0.3})
    profile = profile.model_copy(update={"measurements": [coarse]})
    assert profile.layer_forward_seconds() == {"a": pytest.approx(0.8)}
    assert profile.layer_seconds() == {"a": pytest.approx(3.2)}
    fixed = profile.layers["a"].model_copy(update={"chunkable": False})
    profile = profile.model_copy(update={"layers": {"a": fixed}})
    assert profile.layer_seconds() == {"a": pytest.approx(1.6)}, "its time is in one piece"


def test_costs_that_disagree() -> None:
    profile = chain([1.0, 3.0])
    (first,) = profile.measurements
    assert profile.step_seconds(first) == pytest.approx(sum(profile.layer_seconds().values()))
    assert profile.disagreement == 1.0

    def with_halves(factor: float) -> Profile:
        """Also measured at two micro-batches, whose tasks take so much longer together."""
        fine = TaskCosts(
            micro_batches=2,
            chunks=1,
            forward={name: factor * seconds / 2 for name, seconds in first.forward.items()},
            backward={name: factor * seconds / 2 for name, seconds in first.backward.items()},
        )
        return profile.model_copy(update={"measurements": [first, fine]})

    assert with_halves(1.5).disagreement == 1.0, "small tasks may take longer"
    assert with_halves(0.9).disagreement == pytest.approx(1 / 0.9)
    assert with_halves(0.25).disagreement == pytest.approx(4)
    assert PLAUSIBLE < 4
