"""Preparing the data of a configuration for training: checking, encoding and caching it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nmt.config import CorpusConfig, DataConfig, Direction
from nmt.corpus.batching import BatchIterator
from nmt.corpus.lines import check, read_parallel
from nmt.corpus.store import TokenStore, build_store
from nmt.corpus.vocabulary import Vocabulary
from nmt.errors import ConfigurationError

logger = logging.getLogger(__name__)

# Version of how vocabularies are trained; to be raised when that changes, so that cached ones are
# not used any more.
RECIPE = 1


@dataclass(frozen=True)
class ValidationSet:
    """A validation set in memory. Element i of each list belongs to pair i."""

    direction: Direction
    source: list[str]
    target: list[str]
    source_ids: list[np.ndarray]  # ids of pieces, without special ones
    target_ids: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class PreparedData:
    """The data of a run, ready for training and validation."""

    config: DataConfig
    seed: int  # of the order of training batches
    vocabulary: Vocabulary
    train: dict[str, TokenStore]  # by name of the corpus
    valid: dict[str, ValidationSet]  # by name of the set

    def batches(self) -> BatchIterator:
        """A new endless iterator over training batches."""
        weights = {name: corpus.weight for name, corpus in self.config.train.items()}
        return BatchIterator(self.train, weights, self.config.batch, self.seed)

    def contents(self) -> dict[str, str]:
        """Digests of the vocabulary, the training corpora and the validation sets, by the path of
        their setting. They depend on the content of files, not on their paths."""
        digests = {"data.vocabulary": self.vocabulary.fingerprint}
        digests |= {f"data.train.{name}": store.folder.name for name, store in self.train.items()}
        for name, validation_set in self.valid.items():
            lines = json.dumps([validation_set.source, validation_set.target]).encode()
            digests[f"data.valid.{name}"] = hashlib.sha256(lines).hexdigest()[:32]
        return digests


def prepare(data: DataConfig, seed: int) -> PreparedData:
    """Check every file, then find or make the vocabulary and the token stores in the cache.

    Several processes may call this at the same time: each finds or makes the same files. `seed`
    only affects the order of batches, not what is cached.

    Raises:
        CorpusError: a file is missing, damaged, empty, or not parallel.
        ConfigurationError: the settings do not fit the vocabulary.
    """
    cache = Path(data.cache)
    check_files(data)
    vocabulary = find_vocabulary(data)
    train = {
        name: build_store(name, corpus, vocabulary, data.filter, cache)
        for name, corpus in data.train.items()
    }
    valid = {name: _validation_set(corpus, vocabulary) for name, corpus in data.valid.items()}
    for name, validation_set in valid.items():
        logger.info("%s: %d validation pairs in %s", data.name, len(validation_set), name)
    return PreparedData(data, seed, vocabulary, train, valid)


def _validation_set(corpus: CorpusConfig, vocabulary: Vocabulary) -> ValidationSet:
    pairs = list(read_parallel(corpus))
    source, target = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ids = (_rows(vocabulary, source), _rows(vocabulary, target))
    return ValidationSet(corpus.direction, source, target, *ids)


def check_files(data: DataConfig) -> None:
    """Read every file of a configuration once. That includes test sets, so that a missing one is
    noticed before hours of training.

    Raises:
        CorpusError: a file is missing, damaged, empty, or not parallel.
    """
    for corpus in [*data.train.values(), *data.splits.values()]:
        check(corpus, Path(data.cache))


def find_vocabulary(data: DataConfig) -> Vocabulary:
    """The vocabulary that the configuration names, or a cached one trained on the training text."""
    config = data.vocabulary
    if config.model is not None:
        vocabulary = Vocabulary.load(config.model)
        if len(vocabulary) != config.size:
            raise ConfigurationError(
                [
                    f"`data.vocabulary.size` must be {len(vocabulary)}, the size of "
                    f"`{config.model}`, but is {config.size} instead."
                ]
            )
        return vocabulary
    path = Path(data.cache) / "vocabularies" / f"{_vocabulary_fingerprint(data)}.model"
    if path.exists():
        return Vocabulary.load(path)
    logger.info("%s: training a vocabulary of %d pieces", data.name, config.size)
    return Vocabulary.train(_training_lines(data), config, path)


def _training_lines(data: DataConfig) -> Iterator[str]:
    for corpus in data.train.values():
        for pair in read_parallel(corpus):
            yield from pair


def _vocabulary_fingerprint(data: DataConfig) -> str:
    contents = [check(corpus, Path(data.cache)).digest for corpus in data.train.values()]
    parts = [RECIPE, data.vocabulary.model_dump(), contents]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _rows(vocabulary: Vocabulary, texts: list[str]) -> list[np.ndarray]:
    return [np.array(ids, dtype=np.int64) for ids in vocabulary.encode_batch(texts)]
