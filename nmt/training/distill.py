"""Sequence-level knowledge distillation (Kim & Rush 2016).

A larger model, the teacher, translates the source side of the training corpora once by beam search,
and the student is trained on these translations instead of the corpora's targets. They vary less
than human translations, and are easier for a small model to learn.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from nmt.config import CorpusConfig, Direction, TrainConfig, join_directions
from nmt.corpus.lines import read_lines
from nmt.decoding import DEFAULT, Translator
from nmt.errors import ConfigurationError
from nmt.files import replacing

logger = logging.getLogger(__name__)

BUFFER = 2000  # lines that are sorted by length and translated together


def distilled(config: TrainConfig, wait: bool = False) -> TrainConfig:
    """The configuration with its teacher's translations as the targets of the training corpora, or
    unchanged if it has no teacher. The translations are cached. With `wait`, this process waits for
    another one to make them.

    Raises:
        ModelFolderError: the teacher cannot be loaded.
        ConfigurationError: the teacher does not translate in the direction of a corpus.
    """
    if config.distill is None:
        return config
    teacher = Teacher.load(Path(config.distill), config, wait)
    known = teacher.translator.directions
    for corpus in config.data.train.values():
        if corpus.direction not in known:
            raise ConfigurationError(
                [
                    f"`distill` must be a model that translates {corpus.direction}, the direction "
                    f"of a corpus of `data`, but `{config.distill}` translates "
                    f"{join_directions(known)} instead."
                ]
            )
    train = {
        name: corpus.changed(
            target=teacher.targets_of(corpus), columns=[corpus.column_of_source, None]
        )
        for name, corpus in config.data.train.items()
    }
    return config.changed(data={"train": train})


@dataclass(frozen=True)
class Teacher:
    """A model that translates training corpora for a student."""

    translator: Translator
    weights: str  # digest of its weights
    cache: Path  # folder of the translations
    wait: bool  # whether another process makes the translations

    @classmethod
    def load(cls, folder: Path, config: TrainConfig, wait: bool) -> Teacher:
        """Load a model folder to translate in the number format of the training."""
        translator = Translator.load(
            folder,
            precision=config.precision.name,
            emulate=config.precision.emulate,
            threads=config.parallel.threads,
        )
        weights = _digest_of(folder / "model.safetensors")
        return cls(translator, weights, Path(config.data.cache) / "distilled", wait)

    def targets_of(self, corpus: CorpusConfig) -> list[str]:
        """Files with the translations of a corpus' source files, which are made unless cached."""
        column, direction = corpus.column_of_source, corpus.direction
        return [str(self._translated(file, column, direction)) for file in corpus.source]

    def _translated(self, source: str, column: int | None, direction: Direction) -> Path:
        file = self.cache / f"{self._digest(source, column, direction)}.gz"
        while self.wait and not file.exists():
            time.sleep(0.5)
        if file.exists():
            logger.info("distilled: using cached translations of %s (%s)", source, file)
            return file
        file.parent.mkdir(parents=True, exist_ok=True)
        began, count = time.monotonic(), 0
        translations = self.translator.translate_stream(
            read_lines(source, column), BUFFER, source=direction.source, target=direction.target
        )
        with (
            replacing(file) as unfinished,
            gzip.open(unfinished, "wt", encoding="utf-8", newline="\n") as out,
        ):
            for count, translation in enumerate(translations, 1):
                out.write(translation.text + "\n")
                if count % (5 * BUFFER) == 0:
                    speed = count / (time.monotonic() - began)
                    logger.info("distilling %s: %d lines, %.0f a second", source, count, speed)
        logger.info("distilled %s: %d lines in %.0f s", source, count, time.monotonic() - began)
        return file

    def _digest(self, source: str, column: int | None, direction: Direction) -> str:
        """A digest of everything that the translations of a file depend on."""
        precision = self.translator.precision
        text = _digest_of(Path(source))
        identity = [self.weights, direction.code, text, column, DEFAULT.model_dump(), precision]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
