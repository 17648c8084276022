"""Models of GRUs and of cells of one's own, from training to an exported folder."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from nmt import Translator
from nmt.config import ExportConfig, ShortlistConfig
from nmt.errors import ModelFolderError
from nmt.export import export
from nmt.model.folder import WEIGHTS, read_description
from nmt.precision.formats import Name
from nmt.precision.int8 import has_int8
from nmt.rules.cells import KNOWN_CELLS
from nmt.train import train
from tests.cells import BOUNDED
from tests.training.conftest import Corpus, MakeConfig


def test_a_model_of_grus(small: MakeConfig, digits: Corpus, tmp_path: Path) -> None:
    config = small("model.cell=gru", "model.hidden_size=32", "training.max_steps=60")
    train(config)
    best = config.folder / "best"
    description = read_description(best)
    assert description.model.cell == "gru"
    assert "2 decoder GRU layers of 32 units" in (best / "README.md").read_text(encoding="utf-8")
    weights = load_file(best / WEIGHTS)
    assert {"encoder.1.gru.weight_ih_l0", "decoder.1.gru.weight_hh_l0"} <= weights.keys()
    check_in_use(best, digits, tmp_path)


@pytest.mark.parametrize("cell", [KNOWN_CELLS["lstm"], BOUNDED], ids=["lstm", "bounded"])
def test_a_model_with_a_cell_of_its_own(
    small: MakeConfig, digits: Corpus, tmp_path: Path, cell: str
) -> None:
    config = small(f"model.cell='{cell}'", "model.hidden_size=32", "training.max_steps=60")
    train(config)
    best = config.folder / "best"
    assert read_description(best).model.cell == cell
    weights = load_file(best / WEIGHTS)
    assert {"encoder.1.weight_ih", "decoder.1.weight_hh"} <= weights.keys()
    check_in_use(best, digits, tmp_path)


@pytest.mark.skipif(not has_int8(), reason="the processor has no instructions for int8")
def test_int8_needs_a_bounded_state(small: MakeConfig) -> None:
    config = small("model.cell='h = relu(x0 + h0)'", "training.max_steps=2")
    train(config)
    with pytest.raises(ModelFolderError, match="must have cells whose state stays within ±1"):
        Translator.load(config.folder / "best", device="cpu", precision="int8")
    Translator.load(config.folder / "best", device="cpu").translate(["1 2 3"])


def check_in_use(best: Path, digits: Corpus, tmp_path: Path) -> None:
    """Export a model, and translate with both in all formats."""
    shortlist = ShortlistConfig(candidates=0, always=1, pairs=1)
    smaller = tmp_path / "int8"
    export(
        ExportConfig(
            checkpoint=None,
            folder=str(best),
            output=str(smaller),
            weights="int8",
            data=None,
            shortlist=shortlist,
        )
    )
    lines = digits.lines("valid.digits")[:20]
    formats: list[Name] = ["fp32", "bf16", "int8"] if has_int8() else ["fp32", "bf16"]
    for folder in (best, smaller):
        for name in formats:
            translator = Translator.load(folder, device="cpu", precision=name, emulate=True)
            found = translator.translate(lines)
            assert all(-20 < one.score < 0 for one in found)
            assert any(one.text for one in found), (folder, name)
