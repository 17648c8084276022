"""Runs that are stopped by a signal."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nmt.config import TrainConfig
from nmt.errors import StoppedError, error_as_data, error_from_data
from nmt.train import train
from nmt.training import stopping
from nmt.training.stopping import StopSignals
from nmt.training.trainer import Trainer
from tests.training.conftest import ROOT, MakeConfig, last_step, train_command

STATE = "checkpoints/step-00000024/state.safetensors"


def test_the_first_signal_is_noted_and_a_later_interrupt_interrupts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals = StopSignals()
    with signals.noted():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.number == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)  # of the same wish to end
        assert signals.number == signal.SIGTERM
        monkeypatch.setattr(stopping, "AT_ONCE", -1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_no_step_is_lost(
    small: MakeConfig, through: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("training.checkpoint_every=100")
    step = Trainer._step

    def stopped(trainer: Trainer) -> None:
        step(trainer)
        if trainer._progress.step in (7, 12):  # 12 is validated, too
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_step", stopped)
    for last in (7, 12):
        with pytest.raises(StoppedError, match=f"after step {last}, which is saved") as raised:
            train(config)
        assert raised.value.number == signal.SIGTERM
        assert [path.name for path in (config.folder / "checkpoints").iterdir()][-1:]
        assert (config.folder / f"checkpoints/step-{last:08d}").exists()
    train(config)
    assert (config.folder / STATE).read_bytes() == (through.folder / STATE).read_bytes()


def test_the_error_is_the_same_in_another_process() -> None:
    error = error_from_data(error_as_data(StoppedError("saved", 15)))
    assert isinstance(error, StoppedError)
    assert (str(error), error.number) == ("saved", 15)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_pipeline_saves_and_resumes_to_the_bit(
    small: MakeConfig, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    two = (
        "parallel=wavefront",
        "parallel.stages=2",
        "parallel.micro_batches=2",
        "parallel.device=cpu",
        "training.checkpoint_every=100",
    )
    config = small("name=stopped", *two)
    process = subprocess.Popen(
        train_command(config, tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while last_step(config.folder) < 3 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Training was stopped by a signal after step " in said
    assert "Traceback" not in said
    (saved,) = (config.folder / "checkpoints").iterdir()
    assert int(saved.name[5:]) == last_step(config.folder)
    for one in (config, small("name=whole", *two)):
        subprocess.run(train_command(one, tmp_path), cwd=ROOT, capture_output=True, check=True)
    whole = tmp_path / "runs" / "whole" / STATE
    assert (config.folder / STATE).read_bytes() == whole.read_bytes()
