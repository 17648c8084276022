from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from nmt.config import Direction, GnmtConfig
from nmt.errors import ModelFolderError, StorageError
from nmt.files import SUMS
from nmt.model.folder import (
    LATER,
    ModelDescription,
    read_description,
    read_weights,
    replace_folder,
    write_model_folder,
)

MakeModel = Callable[..., GnmtConfig]


@pytest.fixture
def description(model_config: MakeModel) -> ModelDescription:
    return ModelDescription(
        format=4,
        longest_source=None,
        weights="fp32",
        clip=None,
        clip_cells=False,
        model=model_config(tie="target"),
        vocabulary_size=20,
        directions=[Direction(source="en", target="de")],
        precision="fp32",
    )


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    file = tmp_path / "some.model"
    file.write_bytes(b"pieces")
    return file


@pytest.fixture
def weights(description: ModelDescription) -> dict[str, Tensor]:
    graph = description.graph()
    built = graph.build(graph.names, 0).canonical_parameters()
    return {name: parameter.detach() for name, parameter in built.items()}


@pytest.fixture
def folder(
    tmp_path: Path, description: ModelDescription, weights: dict[str, Tensor], vocabulary: Path
) -> Path:
    written = tmp_path / "runs" / "best"
    write_model_folder(written, description, weights, vocabulary, "# Card\n")
    return written


def message(folder: Path) -> str:
    with pytest.raises(ModelFolderError) as raised:
        read_weights(folder, read_description(folder))
    return str(raised.value)


def test_what_was_written_is_read(
    folder: Path, description: ModelDescription, weights: dict[str, Tensor]
) -> None:
    assert read_description(folder) == description
    stored = read_weights(folder, description)
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[name], value) for name, value in weights.items())
    assert (folder / "vocabulary.model").read_bytes() == b"pieces"
    assert (folder / "README.md").read_text(encoding="utf-8") == "# Card\n"
    names = ["README.md", "SHA256SUMS", "model.safetensors", "model.yaml", "vocabulary.model"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_the_folder_can_be_copied_anywhere(folder: Path, tmp_path: Path) -> None:
    elsewhere = folder.rename(tmp_path / "elsewhere")
    read_weights(elsewhere, read_description(elsewhere))


def test_weights_are_stored_in_fp32(
    tmp_path: Path, description: ModelDescription, weights: dict[str, Tensor], vocabulary: Path
) -> None:
    double = {
        name: value.double().mT.contiguous().mT if value.ndim == 2 else value
        for name, value in weights.items()
    }
    write_model_folder(tmp_path / "b", description, double, vocabulary, "")
    stored = load_file(tmp_path / "b" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32}
    assert all(torch.equal(stored[name], value) for name, value in weights.items())


def test_whoever_may_read_one_file_may_read_all(folder: Path) -> None:
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_tied_matrix_is_stored_once(folder: Path) -> None:
    names = load_file(folder / "model.safetensors").keys()
    assert "target_embedding.weight" in names
    assert "output.weight" not in names


def test_a_new_folder_takes_the_place_of_the_old_one(
    folder: Path, description: ModelDescription, weights: dict[str, Tensor], vocabulary: Path
) -> None:
    (folder / "stray").touch()
    more = {name: value + 1 for name, value in weights.items()}
    write_model_folder(folder, description, more, vocabulary, "new")
    assert torch.equal(read_weights(folder, description)["output.bias"], weights["output.bias"] + 1)
    assert not (folder / "stray").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("step", ["save_file", "shutil.copyfile", "replace_folder"])
def test_a_failed_write_leaves_the_old_folder(
    folder: Path,
    description: ModelDescription,
    weights: dict[str, Tensor],
    vocabulary: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    more = {name: value + 1 for name, value in weights.items()}
    with monkeypatch.context() as patch:
        patch.setattr(f"nmt.model.folder.{step}", full)
        with pytest.raises(StorageError, match="could not be written: no space left"):
            write_model_folder(folder, description, more, vocabulary, "new")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_model_folder(folder, description, more, vocabulary, "new")
    assert (folder / "README.md").read_text(encoding="utf-8") == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_stop_between_the_renames_loses_neither(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = folder.with_name("new"), folder.with_name("old")
    new.mkdir()
    (new / "README.md").write_text("new", encoding="utf-8")
    replace = Path.replace
    calls: list[Path] = []

    def stopping(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(new, folder, old)
    assert (old / "README.md").read_text(encoding="utf-8") == "# Card\n"
    assert (new / "README.md").read_text(encoding="utf-8") == "new"
    replace_folder(new, folder, old)
    assert (folder / "README.md").read_text(encoding="utf-8") == "new"
    assert not old.exists()


# What a user reads when a folder is not what it should be


def test_no_folder(tmp_path: Path) -> None:
    assert message(tmp_path / "none") == (
        f"`{tmp_path / 'none'}` must be a model folder, but there is no such folder."
    )


@pytest.mark.parametrize("name", ["model.yaml", "model.safetensors", "vocabulary.model"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert message(folder) == (
        f"`{folder}` must hold model.yaml, model.safetensors and vocabulary.model, "
        f"but {name} is missing; give a folder such as runs/demo/best."
    )


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xfa"])
def test_a_description_that_is_not_yaml(folder: Path, content: bytes) -> None:
    (folder / "model.yaml").write_bytes(content)
    assert message(folder).startswith(f"`{folder}/model.yaml` must be YAML, but cannot be read: ")


@pytest.mark.parametrize(("content", "value"), [("[1]", "[1]"), ("", "None"), ("x", "'x'")])
def test_a_description_that_is_no_mapping(folder: Path, content: str, value: str) -> None:
    (folder / "model.yaml").write_text(content, encoding="utf-8")
    assert message(folder) == (
        f"`{folder}/model.yaml` must describe a model, but holds {value} instead."
    )


def test_a_description_of_another_kind(folder: Path) -> None:
    file = folder / "model.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    values["format"] = 5
    del values["model"]["hidden_size"]
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert message(folder) == (
        f"`{file}` is not a description of a model: "
        "`format` must be one of 4, but is 5 instead.\n"
        "`model.hidden_size` must be set, but is missing."
    )


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.model"])
def test_flipped_bytes(folder: Path, name: str) -> None:
    file = folder / name
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = bytes(byte ^ 0xFF for byte in content[middle : middle + 4])
    file.write_bytes(content)
    assert message(folder) == (
        f"`{folder}` must be whole, but {name} does not have the checksum in SHA256SUMS; get the "
        "folder again."
    )


def test_what_people_write_may_change(folder: Path) -> None:
    (folder / "README.md").write_text("Mine.\n", encoding="utf-8")
    read_weights(folder, read_description(folder))


def test_damaged_weights(folder: Path) -> None:
    (folder / SUMS).unlink()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert message(folder).startswith(f"`{file}` must hold weights, but is damaged: ")
    file.write_bytes(b"")
    assert message(folder).startswith(f"`{file}` must hold weights, but is damaged: ")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    file = folder / "model.safetensors"
    stored = load_file(file)
    change(stored)
    save_file(stored, file)
    (folder / SUMS).unlink(missing_ok=True)  # as if another program had written it
    return file


def test_a_missing_weight(folder: Path) -> None:
    file = change_weights(folder, lambda stored: stored.pop("attention.bias"))
    assert message(folder) == f"`{file}` must hold `attention.bias`, but does not."


def test_a_weight_of_another_shape(folder: Path) -> None:
    file = change_weights(folder, lambda stored: stored.update({"output.bias": torch.zeros(3)}))
    assert message(folder) == (
        f"`output.bias` in `{file}` must have the shape (20,), but has (3,) instead."
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.ones(20).int(), "must be of floating-point numbers, but is torch.int32 instead"),
        (torch.ones(20).bool(), "must be of floating-point numbers, but is torch.bool instead"),
        (torch.ones(20) + 0j, "must be of floating-point numbers, but is torch.complex64 instead"),
        (torch.ones(20).char(), "must be of floating-point numbers, but is torch.int8 instead"),
        (torch.full((20,), torch.inf), "must be finite, but is not"),
        (torch.full((20,), torch.nan), "must be finite, but is not"),
    ],
)
def test_a_weight_of_another_kind(folder: Path, value: Tensor, expected: str) -> None:
    file = change_weights(folder, lambda stored: stored.update({"output.bias": value}))
    assert message(folder).startswith(f"`output.bias` in `{file}` {expected}")


def test_a_weight_too_many(folder: Path) -> None:
    file = change_weights(folder, lambda stored: stored.update({"more": torch.zeros(3)}))
    assert message(folder) == f"`{file}` holds `more`, which the model does not have."


def test_int8_weights(
    tmp_path: Path, description: ModelDescription, weights: dict[str, Tensor], vocabulary: Path
) -> None:
    small = description.model_copy(update={"weights": "int8"})
    folder = tmp_path / "int8"
    write_model_folder(folder, small, weights, vocabulary, "")
    assert read_description(folder) == small
    stored = read_weights(folder, small)
    assert stored.keys() == weights.keys()
    for name, value in stored.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(
            value, weights[name], rtol=0, atol=float(weights[name].abs().max()) / 250
        )
    write_model_folder(tmp_path / "again", small, stored, vocabulary, "")
    again = read_weights(tmp_path / "again", small)
    for name, value in stored.items():
        torch.testing.assert_close(again[name], value)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors[
        "output.weight.scale"
        if "output.weight.scale" in tensors
        else "target_embedding.weight.scale"
    ]
    save_file(tensors, file)
    (folder / SUMS).unlink()
    assert "one number for each row of" in message(folder)


def as_written_by_version_0_1(folder: Path, number: int) -> Path:
    """Rewrite a model folder's description in the format 1 or 2."""
    file = folder / "model.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    (direction,) = values.pop("directions")
    values |= {f"{side}_language": language for side, language in direction.items()}
    if number == 1:
        del values["weights"], values["clip"], values["clip_cells"]
    values["format"] = number
    for name in ("cell", *LATER):
        del values["model"][name]
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_of_version_0_1_is_read(
    folder: Path, description: ModelDescription, number: int
) -> None:
    as_written_by_version_0_1(folder, number)
    assert read_description(folder) == description
    read_weights(folder, description)


def test_a_folder_of_version_0_1_without_a_language(folder: Path) -> None:
    file = as_written_by_version_0_1(folder, 2)
    text = file.read_text(encoding="utf-8").replace("target_language: de\n", "")
    file.write_text(text, encoding="utf-8")
    assert message(folder) == (
        f"`{file}` is not a description of a model: "
        "`directions.0.target` must be a valid string, but is None instead."
    )


def test_the_directions_are_in_the_description(folder: Path) -> None:
    values = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    assert values["format"] == 4
    assert values["directions"] == [{"source": "en", "target": "de"}]


def test_a_folder_without_directions(folder: Path) -> None:
    file = folder / "model.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump({**values, "directions": []}), encoding="utf-8")
    assert message(folder).endswith("`directions` must not be empty.")
