"""Checkpoints become model folders, one of them or the mean of several."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nmt.config import ExportConfig, ShortlistConfig, TrainConfig
from nmt.decoding import Translator
from nmt.errors import CheckpointError
from nmt.export import export
from nmt.files import write_sums
from nmt.model.folder import CARD, read_description, read_weights
from nmt.parallel.state import AVERAGE, AVERAGE_MASS, PARAMETER
from nmt.training.average import weights_of
from nmt.training.checkpoint import PROGRESS, STATE, read_state


def exporting(output: Path, *checkpoints: Path) -> ExportConfig:
    return ExportConfig(
        folder=None,
        checkpoint=[str(one) for one in checkpoints],
        output=str(output),
        weights="fp32",
        data=None,
        shortlist=ShortlistConfig(candidates=0, always=0, pairs=1),
    )


def weights_in(folder: Path) -> dict[str, Tensor]:
    return read_weights(folder, read_description(folder))


def saved(run: TrainConfig, *steps: int) -> list[Path]:
    return [run.folder / "checkpoints" / f"step-{step:08d}" for step in steps]


def test_the_weights_that_validation_scores() -> None:
    state = {f"{PARAMETER}w": torch.tensor([1.0]), f"{AVERAGE}w": torch.tensor([3.0])}
    assert weights_of(state) == {"w": torch.tensor([1.0])}
    assert weights_of({**state, AVERAGE_MASS: torch.tensor(0.0)}) == {"w": torch.tensor([1.0])}
    assert weights_of({**state, AVERAGE_MASS: torch.tensor(0.5)}) == {"w": torch.tensor([6.0])}


def test_a_step_of_a_run(through: TrainConfig, tmp_path: Path) -> None:
    (last,) = saved(through, 24)
    export(exporting(tmp_path / "m", last))
    found, expected = weights_in(tmp_path / "m"), weights_of(read_state(last))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert "those of step 24" in (tmp_path / "m" / CARD).read_text("utf-8")
    assert Translator.load(tmp_path / "m", device="cpu").translate(["31"])[0].source_tokens


def test_the_mean_of_steps(through: TrainConfig, tmp_path: Path) -> None:
    every = sorted((through.folder / "checkpoints").glob("step-*"))
    assert len(every) == 3
    states = [weights_of(read_state(one)) for one in every]
    for given in (every, [through.folder], [through.folder / "checkpoints", every[0]]):
        export(exporting(tmp_path / "m", *given))
        for name, value in weights_in(tmp_path / "m").items():
            mean = torch.stack([state[name].double() for state in states]).mean(0).float()
            torch.testing.assert_close(value, mean, rtol=0, atol=1e-7)


def test_what_is_no_checkpoint(through: TrainConfig, tmp_path: Path) -> None:
    (last,) = saved(through, 24)
    for wrong in (tmp_path, tmp_path / "nowhere", last / STATE):
        with pytest.raises(CheckpointError, match="must be a checkpoint, such as"):
            export(exporting(tmp_path / "m", wrong))
    other = tmp_path / "other"
    shutil.copytree(through.folder, other)
    copy = other / "checkpoints" / last.name
    with pytest.raises(CheckpointError, match="checkpoints of one run, but"):
        export(exporting(tmp_path / "m", last, copy))
    with (copy / STATE).open("r+b") as stream:
        stream.seek(-9, 2)
        stream.write(b"\x00" * 8)
    with pytest.raises(CheckpointError, match="must be whole, but"):
        export(exporting(tmp_path / "m", copy))
    write_sums(copy, [STATE, PROGRESS])
    shutil.rmtree(other / "best")
    with pytest.raises(CheckpointError, match="wait for the first validation"):
        export(exporting(tmp_path / "m", copy))
    assert not (tmp_path / "m").exists()
