"""How busy other programs keep the machine."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nmt.run import busy
from nmt.run.busy import busy_share, warn_if_busy

LINE = "cpu  {user} 0 0 {idle} 5 0 0 0 0 0\ncpu0 1 2 3 4\n"


@pytest.mark.parametrize(("user", "idle", "share"), [(100, 300, 0.25), (0, 50, 0.0), (7, 0, 1.0)])
def test_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, idle: int, share: float
) -> None:
    file = tmp_path / "stat"
    file.write_text(LINE.format(user=1000, idle=2000), "utf-8")
    after = LINE.format(user=1000 + user, idle=2000 + idle)
    monkeypatch.setattr("time.sleep", lambda _: file.write_text(after, "utf-8"))
    assert busy_share(1.0, file) == pytest.approx(share)


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert busy_share(0.0, tmp_path / "nowhere") == 0
    (tmp_path / "odd").write_text("cpu x\n", "utf-8")
    assert busy_share(0.0, tmp_path / "odd") == 0


@pytest.mark.parametrize(("share", "warned"), [(0.1, False), (0.45, True)])
def test_the_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share: float, warned: bool
) -> None:
    monkeypatch.setattr(busy, "busy_share", lambda: share)
    with caplog.at_level(logging.WARNING):
        warn_if_busy()
    assert ("Other programs use 45% of this machine's CPUs" in caplog.text) == warned
