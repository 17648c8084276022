import logging

import pytest
import torch

from nmt.precision import fastest as module
from nmt.precision.fastest import fastest


def test_the_shortest_time_wins(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = {"fp32": 0.003, "bf16": 0.001, "int8": 0.002}
    monkeypatch.setattr(module, "_seconds", lambda name, *_: times[name])
    monkeypatch.setattr(module, "_possible", lambda name, *_: name != "bf16")
    with caplog.at_level(logging.INFO):
        assert fastest(["fp32", "bf16", "int8"], "cpu", 8) == "int8"
    assert caplog.messages == [
        "precision int8, the fastest of fp32 (3.00 ms), int8 (2.00 ms) on cpu"
    ]
    assert fastest(["fp32", "bf16"], "cpu", 8) == "fp32"


def test_only_what_the_processor_can_do_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert fastest(["fp32", "bf16", "int8"], "cpu", 8) == "fp32"
