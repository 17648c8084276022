"""nmt-export as a user meets it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.decoding import Translator
from nmt.model.folder import WEIGHTS, read_description, read_weights
from nmt.model.shortlist import Shortlist
from nmt.precision.formats import Name
from nmt.precision.int8 import has_int8

ROOT = Path(__file__).parents[1]
SOURCE = ["A man is sleeping.", "Two dogs play with a red ball.", "The woman reads."]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tiny_model_folder: Path, tmp_path: Path) -> Command:
    """Run the command in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nmt.export", f"folder={tiny_model_folder}", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )

    return run


def test_int8_weights(command: Command, tiny_model_folder: Path, tmp_path: Path) -> None:
    done = command("output=small/int8")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "small" / "int8"
    assert f"% of {tiny_model_folder}" in done.stderr
    stored, before = load_file(folder / WEIGHTS), load_file(tiny_model_folder / WEIGHTS)
    matrices = {name for name, value in before.items() if value.dim() == 2}
    assert {name for name, value in stored.items() if value.dtype == torch.int8} == matrices
    assert (folder / WEIGHTS).stat().st_size < 0.4 * (tiny_model_folder / WEIGHTS).stat().st_size
    description = read_description(folder)
    assert description.directions == read_description(tiny_model_folder).directions
    weights = read_weights(folder, description)
    for name, value in before.items():
        step = value.abs().amax(-1, keepdim=True) / 127 if name in matrices else torch.tensor(0.0)
        assert bool(((weights[name] - value).abs() <= 0.5001 * step).all())
    assert "stored in 8 bits" in (folder / "README.md").read_text(encoding="utf-8")
    formats: list[Name] = ["fp32", "bf16", *(["int8"] if has_int8() else [])]  # type: ignore[list-item]
    for precision in formats:
        translator = Translator.load(folder, device="cpu", precision=precision, emulate=True)
        assert all(one.text for one in translator.translate(SOURCE))


def test_a_shortlist(command: Command, tmp_path: Path) -> None:
    settings = ["weights=fp32", "data=sample", "shortlist.candidates=3", "shortlist.always=4"]
    for side, language in (("source", "en"), ("target", "de")):
        file = ROOT / "data" / "sample" / f"train.{language}"
        settings.append(f"data.train.sample.{side}=[{file}]")
    done = command("output=short", *settings, "shortlist.pairs=300")
    assert done.returncode == 0, done.stderr
    translator = Translator.load(tmp_path / "short", device="cpu")
    vocabulary = translator.vocabulary
    shortlist = Shortlist.load(tmp_path / "short", len(vocabulary))
    assert shortlist is not None
    assert len(shortlist.always) == 4
    assert shortlist.candidates.shape == (len(vocabulary), 3)
    sources = vocabulary.encode_batch(SOURCE)
    whole = translator.decode.model_copy(update={"shortlist": False})
    ids = {piece: i for i, piece in enumerate(vocabulary.pieces(range(len(vocabulary))))}
    outside = 0
    for one, free, allowed in zip(
        translator.translate(SOURCE),
        translator.translate(SOURCE, whole),
        shortlist.allowed(sources),
        strict=True,
    ):
        assert all(allowed[ids[piece]] for piece in one.tokens)
        outside += sum(not allowed[ids[piece]] for piece in free.tokens)
    assert outside > 0
    card = (tmp_path / "short" / "README.md").read_text(encoding="utf-8")
    assert "3 for each, by IBM model 1 on sample" in card
    again = command("output=both", f"folder={tmp_path / 'short'}")
    assert again.returncode == 0, again.stderr
    assert Shortlist.load(tmp_path / "both", len(vocabulary)) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["output=x", "shortlist.candidates=5"], "`data` must be set with `shortlist.candidates`"),
        (["output=x", "folder=nowhere"], "`nowhere` must be a model folder"),
        (["output=taken"], "`output` must be a new folder, or a model folder to replace"),
        (
            ["output=x", "data=multi30k_de_en", "shortlist.candidates=5"],
            "`data.train.multi30k.direction` must be one of the model's directions (en→de), but is "
            "de-en instead.",
        ),
        (["output=x", "weights=int4"], "`weights` must be"),
    ],
)
def test_mistakes(command: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("years of work")
    done = command(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "taken" / "thesis.tex").exists()
    assert not (tmp_path / "x").exists()


def test_a_folder_is_not_written_over_itself(command: Command, tiny_model_folder: Path) -> None:
    done = command(f"output={tiny_model_folder}/../best")
    assert done.returncode != 0
    assert "`output` must not be the same folder as `folder`" in done.stderr
