import json
import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nmt.training.metrics import Metrics, Moment, truncate_metrics


def steps(file: Path) -> list[int]:
    return [json.loads(line)["step"] for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, numbers: list[int], end: str = "") -> None:
    lines = [json.dumps({"step": step, "kind": "train", "loss": 1.5}) + "\n" for step in numbers]
    file.write_text("".join(lines) + end, encoding="utf-8")


def test_lines_after_the_checkpoint_go(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, [10, 20, 30, 40])
    truncate_metrics(file, 20)
    assert steps(file) == [10, 20]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("half", ['{"step": 2', '{"step"', "{", '{"step": 20}x'])
def test_a_half_written_line_goes(tmp_path: Path, half: str) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, [10, 20], half)
    truncate_metrics(file, 20)
    assert steps(file) == [10, 20]


@pytest.mark.parametrize("damaged", ["5\n", "null\n", '{"kind": "train"}\n', "\n"])
def test_a_line_of_something_else_goes(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, [10, 20], damaged)
    truncate_metrics(file, 20)
    assert steps(file) == [10, 20]


def test_nothing_to_truncate(tmp_path: Path) -> None:
    truncate_metrics(tmp_path / "metrics.jsonl", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_writes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Metrics(tmp_path, 0) as metrics:
        for step in (1, 2, 3):
            metrics.write(step, "train", {"loss": 2.5, "note": "text"})
        metrics.show(Moment(0.5, 3, 0.5, 2.5, 0.001, 1000.0))
        with caplog.at_level(logging.INFO):
            metrics.say("halfway")
    assert "halfway" in caplog.messages
    with Metrics(tmp_path, 2) as metrics:
        metrics.write(3, "validation", {"loss": 2.0})
    file = tmp_path / "metrics.jsonl"
    assert steps(file) == [1, 2, 3]
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"step": 1, "kind": "train", "loss": 2.5, "note": "text"}
    assert lines[2] == {"step": 3, "kind": "validation", "loss": 2.0}
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2]
    assert [event.step for event in board.Scalars("validation/loss")] == [3]


def test_without_a_terminal_progress_is_a_line_from_time_to_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 100.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    with caplog.at_level(logging.INFO), Metrics(tmp_path, 0, log_seconds=30) as metrics:
        for second, part in ((0, 0.5), (10, 0.55), (31, 0.6), (40, 0.65), (62, 0.75)):
            clock = 100.0 + second
            metrics.show(Moment(part, 10 * second, 1.5, 2.5, 0.002, 1234.4))
    line = "step {}, epoch 1.50, loss 2.500, 1,234 tokens/s, learning rate 0.002, {} left"
    assert caplog.messages == [line.format(310, "02:04"), line.format(620, "01:02")]


def test_lines_can_be_read_while_the_run_lasts(tmp_path: Path) -> None:
    with Metrics(tmp_path, 0) as metrics:
        metrics.write(1, "train", {"loss": 2.5})
        assert steps(tmp_path / "metrics.jsonl") == [1]
