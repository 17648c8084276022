import logging

import pytest
import torch

from nmt.precision import fastest as module
from nmt.precision.fastest import REPEATS, ROWS, fastest
from nmt.precision.formats import Linear, PackedLinear


def test_the_shortest_time_wins(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = {"fp32": 0.003, "bf16": 0.001, "int8": 0.002}
    monkeypatch.setattr(module, "_seconds", lambda name, *_: times[name])
    monkeypatch.setattr(module, "_supported", lambda name, *_: name != "bf16")
    with caplog.at_level(logging.INFO):
        assert fastest(["fp32", "bf16", "int8"], "cpu", 8) == "int8"
    assert caplog.messages == [
        "precision int8, the fastest of fp32 (3.00 ms), int8 (2.00 ms) on cpu"
    ]
    assert fastest(["fp32", "bf16"], "cpu", 8) == "fp32"


def test_only_what_the_processor_can_do_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert fastest(["fp32", "bf16", "int8"], "cpu", 8) == "fp32"


def test_a_step_of_an_lstm_is_measured_and_the_best_time_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: list[torch.Size] = []
    call = PackedLinear.__call__

    def noted(self: Linear, codes: torch.Tensor) -> torch.Tensor:
        shapes.append(codes.shape)
        result: torch.Tensor = call(self, codes)  # type: ignore[arg-type]
        shapes.append(result.shape)
        return result

    monkeypatch.setattr(PackedLinear, "__call__", noted)
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0, 30.0, 34.0, 40.0, 45.0])
    monkeypatch.setattr("nmt.precision.fastest.time.perf_counter", lambda: next(clock))
    assert module._seconds("fp32", "cpu", 8) == 2.0
    assert shapes == [(ROWS, 16), (ROWS, 32)] * REPEATS


def test_a_tie_goes_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds", lambda *_: 0.001)
    monkeypatch.setattr(module, "_supported", lambda *_: True)
    assert fastest(["bf16", "fp32"], "cpu", 8) == "bf16"
