"""Building and loading the compiled code."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nmt.kernels import compiled, native


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing loaded yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NMT_NATIVE", raising=False)
    native.library.cache_clear()
    compiled._say.cache_clear()
    yield tmp_path / "pipeline-nmt" / "native"
    native.library.cache_clear()


def test_it_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library() is not None
    (built,) = cache.iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    native.library.cache_clear()
    monkeypatch.setattr(compiled, "_build", lambda *_: pytest.fail("it is in the cache"))
    assert native.library() is not None
    assert list(cache.iterdir()) == [built]


def test_a_folder_that_others_can_write_to_is_not_used(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert native.library() is not None
    assert list(cache.iterdir()) == []


def test_a_user_without_a_home(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert native.library() is not None
    assert not cache.exists()


def test_it_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMT_NATIVE", "0")
    assert native.library() is None
    assert native.packed(torch.zeros(4, 4), None, None) is None


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with caplog.at_level(logging.INFO):
        assert native.library() is None
    assert "faster where there is a C compiler" in caplog.text


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_a_compiler_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert native.library() is None
    assert "PyTorch's slower operations" in caplog.text


def test_a_compiler_without_optional_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "plain-cc"
    plain.write_text(
        '#!/bin/sh\ncase "$*" in *-march=native*|*-fopenmp*) exit 1;; esac\nexec cc "$@"\n'
    )
    plain.chmod(0o755)
    monkeypatch.setenv("CC", str(plain))
    assert native.library() is not None
