"""`nmt-export`: make a smaller or faster model folder from a trained one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from nmt.command import run_command
from nmt.config import DataConfig, ExportConfig, ShortlistConfig, join_directions
from nmt.corpus.lexicon import Lexicon
from nmt.corpus.store import build_store
from nmt.corpus.vocabulary import Vocabulary
from nmt.errors import ConfigurationError
from nmt.model.batch import EOS
from nmt.model.folder import (
    CARD,
    DESCRIPTION,
    VOCABULARY,
    ModelDescription,
    read_description,
    read_weights,
    write_model_folder,
)
from nmt.model.shortlist import NONE, Shortlist

logger = logging.getLogger(__name__)

CARDS = {
    "int8": "The weights of all matrices are stored in 8 bits, with one scale for each row.",
    "shortlist": "Translations consist only of frequent pieces and of likely translations of the "
    "source's pieces: {candidates} for each, by IBM model 1 on {data}.",
}


def main() -> None:
    """The console script."""
    run_command("nmt-export", ExportConfig, export, "export")


def export(config: ExportConfig) -> None:
    """Read a model folder, and write another one.

    Raises:
        ModelFolderError: the model folder is not valid.
        ConfigurationError: `output` cannot be written to, or `data` is not in a direction of the
            model.
        CorpusError: a corpus of `data` is missing or damaged.
    """
    folder, output = Path(config.folder), Path(config.output)
    check_output(folder, output)
    description = read_description(folder)
    weights = read_weights(folder, description)
    shortlist = Shortlist.load(folder, description.vocabulary_size)
    notes = [] if config.weights == "fp32" else [CARDS[config.weights]]
    if config.shortlist.candidates:
        assert config.data is not None, "the configuration was checked"
        check_directions(config.data, description)
        vocabulary = Vocabulary.load(folder / VOCABULARY)
        shortlist = make_shortlist(config.data, vocabulary, config.shortlist)
        note = CARDS["shortlist"]
        notes.append(note.format(candidates=config.shortlist.candidates, data=config.data.name))
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).exists() else ""
    write_model_folder(
        output,
        description.changed(weights=config.weights),
        weights,
        folder / VOCABULARY,
        card + "".join(f"\n{note}\n" for note in notes),
        shortlist,
    )
    before, after = size_of(folder), size_of(output)
    logger.info("%s: %.1f MB, %.0f%% of %s", output, after / 1e6, 100 * after / before, folder)


def check_output(folder: Path, output: Path) -> None:
    """Check that writing `output` does not delete anything but a model folder.

    Raises:
        ConfigurationError: it is the folder that is read, or exists and is not a model folder.
    """
    if output.resolve() == folder.resolve():
        raise ConfigurationError(
            [f"`output` must not be the same folder as `folder`, but both are `{output}`."]
        )
    if output.exists() and not (output / DESCRIPTION).is_file():
        raise ConfigurationError(
            [
                f"`output` must be a new folder, or a model folder to replace, but `{output}` "
                "exists and is not one."
            ]
        )


def check_directions(data: DataConfig, description: ModelDescription) -> None:
    """Check that the training corpora are in directions of the model.

    Raises:
        ConfigurationError: a corpus is not.
    """
    known = description.directions
    for name, corpus in data.train.items():
        if corpus.direction not in known:
            raise ConfigurationError(
                [
                    f"`data.train.{name}.direction` must be one of the model's directions "
                    f"({join_directions(known)}), but is {corpus.direction.code} instead."
                ]
            )


def size_of(folder: Path) -> int:
    """Size of the files in a folder, in bytes."""
    return sum(file.stat().st_size for file in folder.iterdir())


def make_shortlist(data: DataConfig, vocabulary: Vocabulary, config: ShortlistConfig) -> Shortlist:
    """Learn a shortlist from the training corpora of `data`, in the model's pieces."""
    pairs = list(islice(_pairs(data, vocabulary), config.pairs))  # views of the store's files
    lexicon = Lexicon.learn(pairs, len(vocabulary), EOS)
    candidates = torch.full((len(vocabulary), config.candidates), NONE, dtype=torch.int32)
    for piece in np.unique(lexicon.sources).tolist():
        best = torch.from_numpy(lexicon.best(piece, config.candidates))
        candidates[piece, : len(best)] = best.int()
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    for _, target in pairs:
        np.add.at(counts, target, 1)
    frequent = np.argsort(-counts, kind="stable")[: config.always]
    return Shortlist(candidates, torch.from_numpy(frequent).int())


def _pairs(data: DataConfig, vocabulary: Vocabulary) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for name, corpus in data.train.items():
        store = build_store(name, corpus, vocabulary, data.filter, Path(data.cache))
        for i in range(len(store)):
            yield store.source(i), store.target(i)


if __name__ == "__main__":
    main()
