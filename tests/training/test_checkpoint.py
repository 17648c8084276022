from pathlib import Path

import pytest
import torch
from torch import Tensor

from nmt.errors import CheckpointError
from nmt.training.checkpoint import PROGRESS, STATE, Checkpoints, Progress

PROGRESSES = Progress(
    step=7,
    epoch=0.5,
    target_tokens=100,
    seconds=1.5,
    best_score=12.25,
    best_step=6,
    without_improvement=2,
    averaged_step=5,
    data={"pool": 1, "drawn": [3]},
    identity={"seed": 1},
)


def state(value: float = 1.0) -> dict[str, Tensor]:
    return {
        "parameter/a": torch.full((2, 3), value).T,
        "optimizer/step/a": torch.tensor(4.0),
        "average_mass": torch.tensor(0.1, dtype=torch.float64),
    }


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def names(checkpoints: Checkpoints) -> list[str]:
    return [path.name for path in checkpoints.all()]


def test_what_was_written_is_read(checkpoints: Checkpoints) -> None:
    checkpoints.write(PROGRESSES, state())
    (folder,) = checkpoints.all()
    progress, stored = checkpoints.read(folder)
    assert folder.name == "step-00000007"
    assert progress == PROGRESSES
    assert stored.keys() == state().keys()
    for name, value in state().items():
        assert torch.equal(stored[name], value)
        assert stored[name].dtype == value.dtype


def test_no_checkpoints_yet(checkpoints: Checkpoints) -> None:
    assert checkpoints.all() == []


def test_the_last_ones_are_kept_in_order(checkpoints: Checkpoints) -> None:
    for step in (9, 10, 100, 99_999_999, 100_000_000):
        checkpoints.write(Progress(step=step), state())
    assert names(checkpoints) == ["step-99999999", "step-100000000"]


def test_writing_a_step_again_replaces_it(checkpoints: Checkpoints) -> None:
    checkpoints.write(Progress(step=1), state(1.0))
    checkpoints.write(Progress(step=1), state(2.0))
    (folder,) = checkpoints.all()
    assert torch.equal(checkpoints.read(folder)[1]["parameter/a"], state(2.0)["parameter/a"])


@pytest.mark.parametrize("what", ["save_file", "json.dumps", "Path.replace"])
def test_a_failed_write_leaves_the_ones_before(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    checkpoints.write(Progress(step=1), state())
    checkpoints.write(Progress(step=2), state())
    with monkeypatch.context() as patch:
        patch.setattr(f"nmt.training.checkpoint.{what}", full)
        with pytest.raises(OSError, match="no space left"):
            checkpoints.write(Progress(step=3), state(3.0))
    assert names(checkpoints) == ["step-00000001", "step-00000002"]
    checkpoints.read(checkpoints.all()[-1])
    checkpoints.write(Progress(step=3), state(3.0))
    assert names(checkpoints) == ["step-00000002", "step-00000003"]


def test_an_unfinished_checkpoint_is_not_one(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.write(Progress(step=1), state())
    unfinished = tmp_path / "checkpoints" / "step-00000002.new"
    unfinished.mkdir()
    (unfinished / STATE).write_bytes(b"half")
    assert names(checkpoints) == ["step-00000001"]
    checkpoints.write(Progress(step=2), state())
    assert names(checkpoints) == ["step-00000001", "step-00000002"]


# What a user reads


def read_message(checkpoints: Checkpoints, folder: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        checkpoints.read(folder)
    return str(raised.value)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"stap": 1}', b"\xff"])
def test_damaged_progress(checkpoints: Checkpoints, content: bytes | None) -> None:
    checkpoints.write(PROGRESSES, state())
    (folder,) = checkpoints.all()
    file = folder / PROGRESS
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    message = read_message(checkpoints, folder)
    assert message.startswith(f"`{file}` must be a checkpoint's progress, but cannot be read (")
    assert message.endswith(f"); delete `{folder}` to resume from the one before.")


@pytest.mark.parametrize("size", [None, 0, 100])
def test_damaged_state(checkpoints: Checkpoints, size: int | None) -> None:
    checkpoints.write(PROGRESSES, state())
    (folder,) = checkpoints.all()
    file = folder / STATE
    content = file.read_bytes()
    file.unlink()
    if size is not None:
        file.write_bytes(content[:size])
    message = read_message(checkpoints, folder)
    assert message.startswith(f"`{file}` must hold a checkpoint's tensors, but cannot be read (")
    assert message.endswith(f"); delete `{folder}` to resume from the one before.")
