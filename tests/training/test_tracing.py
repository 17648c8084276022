from pathlib import Path
from unittest.mock import Mock

import pytest

from nmt.parallel.trace import Recorder
from nmt.training.tracing import STEPS, WARM_UP, Tracing


def run_steps(folder: Path, count: int) -> Recorder:
    """A run of so many steps on one device, of two tasks each."""
    recorder = Recorder()
    executor = Mock(recorder=recorder, is_main=True, gather_events=lambda: recorder.events)
    tracing = Tracing(executor, folder, "a run")
    for step in range(count):
        with recorder(0, "forward", f"forward of step {step}"):
            pass
        with recorder(0, "update", "optimizer"):
            pass
        tracing.after_step()
    tracing.finish()
    return recorder


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_a_run_of_any_length_shows_its_steps(tmp_path: Path, count: int) -> None:
    recorder = run_steps(tmp_path, count)
    assert not recorder.on
    page = (tmp_path / "trace.html").read_text(encoding="utf-8")
    last = min(count, WARM_UP + STEPS)
    shown = [step for step in range(count) if f"forward of step {step}," in page]
    assert shown == list(range(max(0, last - STEPS), last))
    assert (tmp_path / "trace.png").exists()


def test_a_run_without_steps_shows_nothing(tmp_path: Path) -> None:
    run_steps(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
