"""Sequence-level knowledge distillation (Kim & Rush 2016).

A larger model, the teacher, translates the source side of the training corpora once by beam search,
and the student is trained on these translations instead of the corpora's targets. They vary less
than what people write, and are easier to learn for a small model.
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
    """The configuration with a teacher's translations as the targets of its training corpora, if it
    names a teacher. They are kept in the cache. With `wait`, another process makes them.

    Raises:
        ModelFolderError: the teacher cannot be loaded.
        ConfigurationError: it does not translate a corpus' direction.
    """
    if config.distill is None:
        return config
    teacher = Teacher.load(Path(config.distill), config, wait)
    known = teacher.translator.directions
    for corpus in config.data.train.values():
        if corpus.direction not in known:
            raise ConfigurationError(
                [
                    f"`distill` must be a model that translates {corpus.direction}, as `data` has "
                    f"it, but `{config.distill}` translates {join_directions(known)} instead."
                ]
            )
    train = {
        name: corpus.changed(target=teacher.targets_of(corpus))
        for name, corpus in config.data.train.items()
    }
    return config.changed(data={"train": train})


@dataclass(frozen=True)
class Teacher:
    """A model that translates training corpora for another one."""

    translator: Translator
    weights: str  # digest
    cache: Path
    wait: bool  # for another process, which translates

    @classmethod
    def load(cls, folder: Path, config: TrainConfig, wait: bool) -> Teacher:
        """Load a model folder, to translate in the number format of the training."""
        translator = Translator.load(
            folder,
            precision=config.precision.name,
            emulate=config.precision.emulate,
            threads=config.parallel.threads,
        )
        weights = _digest_of(folder / "model.safetensors")
        return cls(translator, weights, Path(config.data.cache) / "distilled", wait)

    def targets_of(self, corpus: CorpusConfig) -> list[str]:
        """The files of its translations of a corpus' source files."""
        return [str(self._translated(file, corpus.direction)) for file in corpus.source]

    def _translated(self, source: str, direction: Direction) -> Path:
        file = self.cache / f"{self._digest(source, direction)}.gz"
        while self.wait and not file.exists():
            time.sleep(0.5)
        if file.exists():
            logger.info("distilled: %s, translated before", file)
            return file
        file.parent.mkdir(parents=True, exist_ok=True)
        began, count = time.monotonic(), 0
        translations = self.translator.translate_stream(
            read_lines(source), BUFFER, source=direction.source, target=direction.target
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

    def _digest(self, source: str, direction: Direction) -> str:
        """Of all that decides what the translations of a file are."""
        precision = self.translator.precision
        text = _digest_of(Path(source))
        identity = [self.weights, direction.code, text, DEFAULT.model_dump(), precision]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
