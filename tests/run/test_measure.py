"""Measuring layers, steps and links in worker processes."""

from __future__ import annotations

import logging
from unittest.mock import Mock

import pytest

from nmt.run.measure import measure_layers, measure_link, measure_steps
from tests.training.conftest import MakeConfig


@pytest.mark.parametrize("name", ["local", "wavefront"])
def test_measuring(small: MakeConfig, name: str) -> None:
    config = small(f"parallel={name}", "parallel.device=cpu", "parallel.threads=1")
    found = measure_steps(config, 2)
    assert len(found.seconds) == len(found.tokens) == len(found.losses) == 2
    assert found.tokens_per_second > 0
    assert "cpu" in found.plan
    assert not config.folder.exists(), "nothing is left behind"


def test_layers_are_measured_at_work(small: MakeConfig) -> None:
    config = small("parallel=wavefront", "parallel.device=cpu", "parallel.threads=1")
    cuts = [(2, 1), (4, 2)]
    profile = measure_layers(config, cuts, 2)
    assert [(cut.micro_batches, cut.chunks) for cut in profile.measurements] == cuts
    for cut in profile.measurements:
        assert set(cut.forward) == set(cut.backward) == set(profile.layers)
        assert all(seconds > 0 for seconds in [*cut.forward.values(), *cut.backward.values()])


def test_the_link_between_two_processes() -> None:
    link = measure_link("gloo")
    assert 0 < link.latency < 1
    assert link.bandwidth > 0


@pytest.mark.parametrize(
    ("disagreements", "kept", "warned"),
    [
        ([1.2], 0, False),
        ([4.4, 1.1], 1, False),
        ([4.4, 9.0, 2.0], 2, True),
        ([3.0, 4.0, 5.0], 0, True),
    ],
)
def test_costs_that_cannot_be_right_are_measured_again(
    small: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    disagreements: list[float],
    kept: int,
    warned: bool,
) -> None:
    profiles = [Mock(disagreement=one) for one in disagreements]
    left = iter(profiles)
    monkeypatch.setattr("nmt.run.measure.measure_in_workers", lambda *_: {})
    monkeypatch.setattr("nmt.run.measure.read", lambda *_: next(left))
    config = small("parallel=wavefront", "parallel.device=cpu", "parallel.threads=1")
    with caplog.at_level(logging.WARNING):
        assert measure_layers(config, [(1, 1)], 2) is profiles[kept]
    assert list(left) == []
    assert ("cannot be right, also after 3 attempts" in caplog.text) == warned
