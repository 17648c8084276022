"""A model folder that any test can load: random weights behind a small real vocabulary."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nmt.config import Direction, GnmtConfig, VocabularyConfig
from nmt.corpus.vocabulary import Vocabulary
from nmt.model.batch import EOS
from nmt.model.folder import ModelDescription, write_model_folder
from tests.cells import BOUNDED

LINES = [
    "A man is sleeping on a bench in the park.",
    "Two dogs play with a red ball near the water.",
    "The woman reads a book while her children draw.",
    "Ein Mann schläft auf einer Bank im Park.",
    "Zwei Hunde spielen am Wasser mit einem roten Ball.",
    "Die Frau liest ein Buch, während ihre Kinder malen.",
]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Models this small only lose time by waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing: 2+2 layers of 16 units, random but decided in what it says."""
    return write_tiny_model(tmp_path_factory.mktemp("model"), "lstm")


@pytest.fixture(scope="session")
def tiny_gru_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a model of GRUs."""
    return write_tiny_model(tmp_path_factory.mktemp("model"), "gru")


@pytest.fixture(scope="session")
def tiny_own_cell_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a model with a cell of its own."""
    return write_tiny_model(tmp_path_factory.mktemp("model"), BOUNDED)


def write_tiny_model(folder: Path, cell: str) -> Path:
    """Write it into a folder → the model folder."""
    config = VocabularyConfig(
        size=330, kind="unigram", character_coverage=1.0, sample_lines=1000, model=None
    )
    vocabulary = Vocabulary.train(LINES, config, folder / "trained.model")
    description = ModelDescription(
        format=4,
        longest_source=None,
        weights="fp32",
        clip=None,
        clip_cells=False,
        model=GnmtConfig(
            name="random",
            architecture="gnmt",
            cell=cell,
            encoder_layers=2,
            decoder_layers=2,
            hidden_size=16,
            dropout=0.0,
            embedding_dropout=0.0,
            residual="full",
            bidirectional_layers=1,
            context="all",
            normalisation="none",
            attention="additive",
            attention_heads=1,
            tie="none",
        ),
        vocabulary_size=len(vocabulary),
        directions=[Direction(source="en", target="de")],
        precision="fp32",
    )
    graph = description.graph()
    weights = {
        name: parameter.detach().clone() * 3
        for name, parameter in graph.build(graph.names, seed=5).canonical_parameters().items()
    }
    weights["output.bias"][EOS] = 0.0
    weights["output.bias"][EOS + 1 : EOS + 257] = -20.0  # words rather than bytes
    write_model_folder(
        folder / "best", description, weights, folder / "trained.model", card="# A test\n"
    )
    return folder / "best"
