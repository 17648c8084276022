from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.errors import CheckpointError, StorageError
from nmt.files import SUMS
from nmt.parallel.state import check_state
from nmt.training.checkpoint import PROGRESS, STATE, Checkpoints, Progress, newest_whole

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
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    checkpoints.write(Progress(step=1), state())
    checkpoints.write(Progress(step=2), state())
    with monkeypatch.context() as patch:
        patch.setattr(f"nmt.training.checkpoint.{what}", full)
        with pytest.raises(StorageError, match=r"could not be written: no space left \(\d+ MB are"):
            checkpoints.write(Progress(step=3), state(3.0))
    assert not list(tmp_path.glob("checkpoints/*.new"))
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

BAD_PROGRESS = [
    None,
    b"",
    b"{",
    b"[]",
    b"7",
    b"null",
    b'{"stap": 1}',
    b'{"step": "7"}',
    b'{"step": 7.5}',
    b'{"step": true}',
    b'{"step": -1}',
    b'{"step": 1e400}',
    b'{"seconds": NaN}',
    b'{"step": 1' + b"0" * 400 + b"}",
    b'{"best_scores": []}',
    b'{"data": [1]}',
    b'{"identity": "x"}',
    b"[" * 100_000,
    b"\xff",
]


def read_message(checkpoints: Checkpoints, folder: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        checkpoints.read(folder)
    return str(raised.value)


@pytest.mark.parametrize("content", BAD_PROGRESS)
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


# Damage


def flip(file: Path) -> None:
    """Four bytes in the middle."""
    content = bytearray(file.read_bytes())
    for i in range(len(content) // 2, len(content) // 2 + 4):
        content[i] ^= 0xFF
    file.write_bytes(content)


DAMAGES: dict[str, Any] = {
    "flipped state": lambda folder: flip(folder / STATE),
    "flipped progress": lambda folder: flip(folder / PROGRESS),
    "no state": lambda folder: (folder / STATE).unlink(),
    "no progress": lambda folder: (folder / PROGRESS).unlink(),
    "no sums and half a state": lambda folder: (
        (folder / SUMS).unlink(),
        (folder / STATE).write_bytes((folder / STATE).read_bytes()[:-5]),
    ),
    "empty sums and no state": lambda folder: (
        (folder / SUMS).write_bytes(b""),
        (folder / STATE).unlink(),
    ),
    "odd sums": lambda folder: (folder / SUMS).write_bytes(b"\xff\xfe"),
    "sums of elsewhere": lambda folder: (folder / SUMS).write_text("00  ../../x\n"),
    "empty": lambda folder: [file.unlink() for file in folder.iterdir()],
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_newest_whole_checkpoint_is_taken(
    checkpoints: Checkpoints, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        checkpoints.write(Progress(step=step), state())
    first, second = checkpoints.all()
    assert newest_whole(checkpoints.all()) == second
    DAMAGES[kind](second)
    for _ in range(2):
        assert newest_whole(checkpoints.all()) == first
    assert caplog.text.count(f"`{second}` is damaged (") == 1
    assert "the run resumes from step-00000001." in caplog.text
    checkpoints.set_aside(first)
    assert checkpoints.all() == [first]
    assert (second.parent / f"damaged-{second.name}").is_dir()


def test_all_are_damaged(checkpoints: Checkpoints) -> None:
    for step in (1, 2):
        checkpoints.write(Progress(step=step), state())
    for folder in checkpoints.all():
        flip(folder / STATE)
    with pytest.raises(CheckpointError, match="all 2 are damaged; in step-00000002"):
        newest_whole(checkpoints.all())


def test_checkpoints_without_sums_are_read(checkpoints: Checkpoints) -> None:
    checkpoints.write(PROGRESSES, state())
    (folder,) = checkpoints.all()
    (folder / SUMS).unlink()
    assert newest_whole([folder]) == folder
    assert checkpoints.read(folder)[0] == PROGRESSES


# Tensors that are not the model's

SHAPES = {"a": torch.Size([3, 2])}


def test_a_state_of_the_model() -> None:
    check_state({**state(), "optimizer/row/a": torch.ones(3)}, SHAPES, "file")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("parameter/a", torch.ones(2, 3), r"must have the shape \(3, 2\), but has \(2, 3\)"),
        ("parameter/a", torch.ones(3, 2).int(), "floating-point numbers, but is torch.int32"),
        ("parameter/a", torch.ones(3, 2).bool(), "floating-point numbers, but is torch.bool"),
        ("parameter/a", torch.ones(3, 2) + 0j, "floating-point numbers, but is torch.complex64"),
        ("parameter/a", torch.full((3, 2), torch.inf), "must be finite, but is not"),
        ("optimizer/exp_avg/a", torch.full((3, 2), torch.nan), "must be finite, but is not"),
        ("optimizer/exp_avg/a", torch.ones(7), r"shape \(3, 2\), but has \(7,\)"),
        ("average/a", torch.ones(2), r"shape \(3, 2\), but has \(2,\)"),
        ("average_mass", torch.ones(2, dtype=torch.float64), "must be one number"),
        ("parameter/b", torch.ones(3, 2), "must be a tensor of the model"),
        ("odd/a", torch.ones(3, 2), "must be a tensor of the model"),
    ],
)
def test_a_state_of_something_else(key: str, value: Tensor, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as raised:
        check_state({**state(), key: value}, SHAPES, "file")
    assert str(raised.value).startswith(f"`{key}` in `file` ")


def test_a_state_without_a_parameter() -> None:
    with pytest.raises(CheckpointError, match="`file` must have a tensor `parameter/b`"):
        check_state(state(), {**SHAPES, "b": torch.Size([1])}, "file")
