"""Where the GPU's kernels are used, and what is said where they cannot be built."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import nmt.kernels as module
from nmt.kernels import kernels_for


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    module._kernels.cache_clear()
    yield
    module._kernels.cache_clear()


def on_gpu(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return SimpleNamespace(is_cuda=True, dtype=dtype)  # type: ignore[return-value]


def test_a_cpu_has_none() -> None:
    assert kernels_for(torch.zeros(1)) is None


def test_none_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert kernels_for(on_gpu()) is None


def test_they_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[int] = []
    kernels: Any = SimpleNamespace(check=lambda: checks.append(1))
    monkeypatch.setattr(module, "find_spec", lambda _: object())
    monkeypatch.setattr(module, "import_module", lambda _: kernels)
    assert kernels_for(on_gpu()) is kernels
    assert kernels_for(on_gpu(torch.bfloat16)) is kernels
    assert kernels_for(on_gpu(torch.float64)) is None
    assert checks == [1]


def test_a_compiler_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def check() -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(module, "find_spec", lambda _: object())
    monkeypatch.setattr(module, "import_module", lambda _: SimpleNamespace(check=check))
    with caplog.at_level(logging.WARNING):
        assert kernels_for(on_gpu()) is None
        assert kernels_for(on_gpu()) is None
    assert caplog.messages == [
        "Triton cannot build kernels here, and PyTorch's slower operations are used instead (it "
        "needs a C compiler): Failed to find C compiler"
    ]
