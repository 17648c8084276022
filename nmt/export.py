"""`nmt-export`: make a smaller or faster model folder from a trained one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nmt.command import run_command
from nmt.config import DataConfig, ExportConfig, ShortlistConfig, join_directions
from nmt.corpus.lexicon import Lexicon
from nmt.corpus.store import build_store
from nmt.corpus.vocabulary import Vocabulary
from nmt.errors import CheckpointError, ConfigurationError
from nmt.files import damage
from nmt.model.batch import EOS
from nmt.model.folder import (
    CARD,
    DESCRIPTION,
    VOCABULARY,
    ModelDescription,
    expected_shapes,
    read_description,
    read_weights,
    write_model_folder,
)
from nmt.model.shortlist import NONE, Shortlist
from nmt.parallel.state import check_state
from nmt.training.average import mean_of, weights_of
from nmt.training.checkpoint import STATE, Checkpoints, read_state

logger = logging.getLogger(__name__)

CARDS = {
    "checkpoints": "The weights are not those described above, but those of step {steps} (the mean "
    "of several), which have not been scored.",
    "int8": "The weights of all matrices are stored in 8 bits, with one scale for each row.",
    "shortlist": "Translations consist only of frequent pieces and of likely translations of the "
    "source's pieces: {candidates} for each, by IBM model 1 on {data}.",
}


def main() -> None:
    """The console script."""
    run_command("nmt-export", ExportConfig, export, "export")


def export(config: ExportConfig) -> None:
    """Read a model folder or checkpoints, and write a model folder.

    Raises:
        CheckpointError: a checkpoint is missing, damaged, or of another run.
        ModelFolderError: the model folder is not valid.
        ConfigurationError: `output` cannot be written to, or `data` is not in a direction of the
            model.
        CorpusError: a corpus of `data` is missing or damaged.
    """
    saved = find_checkpoints(config.checkpoint or [])
    folder, output = Path(config.folder or model_of(saved[0])), Path(config.output)
    check_output(folder, output)
    description = read_description(folder)
    weights = read_mean(saved, description) if saved else read_weights(folder, description)
    shortlist = Shortlist.load(folder, description.vocabulary_size)
    steps = ", ".join(str(int(one.name.partition("-")[2])) for one in saved)
    notes = [CARDS["checkpoints"].format(steps=steps)] if saved else []
    notes += [] if config.weights == "fp32" else [CARDS[config.weights]]
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


def find_checkpoints(paths: Sequence[str]) -> list[Path]:
    """The checkpoints that the paths name, one each, or all of a run.

    Raises:
        CheckpointError: a path is none of these, or they are of several runs.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = next((one for one in (path / "checkpoints", path) if one.is_dir()), path)
        every = [path] if (path / STATE).is_file() else Checkpoints(inside, 1).all()
        if not every:
            raise CheckpointError(
                f"`{path}` must be a checkpoint, such as runs/demo/checkpoints/step-00001000, or "
                "the folder of a run, but is neither."
            )
        found += every
    runs = list(dict.fromkeys(one.resolve().parents[1] for one in found))
    if len(runs) > 1:
        raise CheckpointError(
            f"`checkpoint` must name checkpoints of one run, but they are of `{runs[0]}` and "
            f"`{runs[1]}`; the mean of models that were trained apart is none."
        )
    return list(dict.fromkeys(found))


def model_of(checkpoint: Path) -> Path:
    """The best model of a checkpoint's run, which has what a checkpoint lacks: the description of
    the model, and its vocabulary.

    Raises:
        CheckpointError: there is none yet.
    """
    folder = checkpoint.resolve().parents[1] / "best"
    if not folder.is_dir():
        raise CheckpointError(
            f"`{folder}` must exist to export a checkpoint of its run, since it has the "
            "vocabulary, but does not; wait for the first validation."
        )
    return folder


def read_mean(saved: Sequence[Path], description: ModelDescription) -> dict[str, Tensor]:
    """The mean of the weights of checkpoints, by name.

    Raises:
        CheckpointError: one of them is damaged, or of another model.
    """
    shapes = expected_shapes(description.graph())

    def weights() -> Iterator[dict[str, Tensor]]:
        for folder in saved:
            if problem := damage(folder):
                raise CheckpointError(f"`{folder}` must be whole, but {problem}; leave it out.")
            state = read_state(folder)
            check_state(state, shapes, str(folder / STATE))
            yield weights_of(state)

    return mean_of(weights(), len(saved))


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
