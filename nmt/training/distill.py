"""Students: training on what a larger model says instead of what people wrote.

Sequence-level knowledge distillation (Kim & Rush 2016): the teacher translates the source side of
the training corpora by beam search, once, and the student learns from that. A teacher's
translations vary less than people's, so that a small model can learn more of them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from nmt.config import TrainConfig
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
        ConfigurationError: it translates between other languages.
    """
    if config.distill is None:
        return config
    folder, data = Path(config.distill), config.data
    translator = Translator.load(
        folder,
        precision=config.precision.name,
        emulate=config.precision.emulate,
        threads=config.parallel.threads,
    )
    wanted = (data.source_language, data.target_language)
    found = (translator.source_language, translator.target_language)
    if found != wanted:
        raise ConfigurationError(
            [
                f"`distill` must be a model from {wanted[0]} to {wanted[1]}, as `data`, but "
                f"`{folder}` is from {found[0]} to {found[1]} instead."
            ]
        )
    teacher = _digest_of(folder / "model.safetensors")
    train = {
        name: files.changed(
            target=[
                str(_translated(file, translator, teacher, config, wait)) for file in files.source
            ]
        )
        for name, files in data.train.items()
    }
    return config.changed(data={"train": train})


def _translated(
    source: str, translator: Translator, teacher: str, config: TrainConfig, wait: bool
) -> Path:
    """The file of one source file's translations."""
    identity = [teacher, _digest_of(Path(source)), DEFAULT.model_dump(), config.precision.name]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    file = Path(config.data.cache) / "distilled" / f"{digest}.gz"
    while wait and not file.exists():
        time.sleep(0.5)
    if file.exists():
        logger.info("distilled: %s, translated before", file)
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    began, count = time.monotonic(), 0
    with (
        replacing(file) as unfinished,
        gzip.open(unfinished, "wt", encoding="utf-8", newline="\n") as out,
    ):
        for text in _texts(source, translator):
            out.write(text + "\n")
            count += 1
            if count % (5 * BUFFER) == 0:
                speed = count / (time.monotonic() - began)
                logger.info("distilling %s: %d lines, %.0f a second", source, count, speed)
    logger.info("distilled %s: %d lines in %.0f s", source, count, time.monotonic() - began)
    return file


def _texts(source: str, translator: Translator) -> Iterator[str]:
    for translation in translator.translate_stream(read_lines(source), BUFFER):
        yield translation.text


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
