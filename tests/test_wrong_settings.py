"""A walk of all commands with wrong settings: no traceback, no hang. `python -m
tests.benchmarks.settings` walks further."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.wrong_settings import COMMANDS, Commands, Outcome, Try, commands, tries

TRIES = {"serve": 6}  # a server that starts is told to stop only after some seconds


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path
) -> Iterator[Commands]:
    with commands(tmp_path_factory.mktemp("walk"), tiny_model_folder) as made:
        yield made


@pytest.mark.parametrize("command", COMMANDS)
def test_right_settings_are_accepted(running: Commands, command: str) -> None:
    outcome = running.run(Try(command, "hydra.verbose=false"))
    assert (outcome.code, outcome.fault()) == (0, None), outcome.error


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_settings_are_sentences(running: Commands, command: str) -> None:
    @settings(
        max_examples=TRIES.get(command, 25),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def walk(data: st.DataObject) -> None:
        one = data.draw(tries(command))
        outcome = running.run(one)
        assert outcome.fault() is None, (one, outcome)

    walk()


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Outcome(0, "", 1.0), None),
        (Outcome(2, "nmt-train: error: no.\n", 1.0), None),
        (Outcome(2, "", 1.0), "no sentence"),
        (Outcome(1, "", 1.0), "exit code 1"),
        (Outcome(-11, "", 1.0), "exit code -11"),
        (Outcome(None, "", 90.0), "no end within 90 s"),
        (Outcome(1, "Traceback (most recent call last):\n…", 1.0), "a traceback"),
    ],
)
def test_what_counts_as_a_fault(outcome: Outcome, fault: str | None) -> None:
    assert outcome.fault() == fault
