"""The vocabulary, a SentencePiece model that is shared by all languages."""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece

from nmt.config import VocabularyConfig
from nmt.corpus.lines import write_atomically
from nmt.errors import CorpusError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL = (PAD, UNK, BOS, EOS)

# Fixed, since SentencePiece sums floats by thread: the result depends on the number of threads.
THREADS = 4
SAMPLE_SEED = 0
ERRORS_ONLY = 2  # SentencePiece's log level


class Vocabulary:
    """Converts text to the ids of its pieces and back. Ids 0 to 3 are pad, unk, bos and eos."""

    def __init__(self, model: bytes, name: str = "the vocabulary") -> None:
        """`model` is the content of a SentencePiece model file; `name` is used in errors."""
        self._model = model
        self._processor = _processor(model, name)
        self.fingerprint = hashlib.sha256(model).hexdigest()

    @classmethod
    def train(cls, lines: Iterable[str], config: VocabularyConfig, model_file: Path) -> Vocabulary:
        """Train a vocabulary of exactly `config.size` pieces and write it to `model_file`.

        The same lines give the same file. At most `config.sample_lines` lines are held in memory.

        Raises:
            CorpusError: there is no text, or SentencePiece cannot make a vocabulary of this size.
        """
        vocabulary = cls(_train(_sample(lines, config.sample_lines), config), str(model_file))
        vocabulary.save(model_file)
        return vocabulary

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a SentencePiece model.

        Raises:
            CorpusError: the file is missing, damaged, or has other special ids.
        """
        try:
            return cls(Path(path).read_bytes(), str(path))
        except OSError as error:
            raise CorpusError(
                f"`{path}` must be a SentencePiece model, but gives “{error.strerror}” instead; "
                "correct the path."
            ) from None

    def save(self, path: str | Path) -> None:
        """Write the SentencePiece model atomically."""
        write_atomically(Path(path), self._model)

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of a text, without special ones."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the pieces of each text, computed on all cores."""
        ids: list[list[int]] = self._processor.encode(list(texts))
        return ids

    def count(self, text: str) -> int:
        """Number of pieces of a text."""
        return len(self.encode(text))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the pieces with these ids; special ones are ignored. It is always a single
        line: a model may generate the byte piece of a line end, which would misalign a file.
        """
        text: str = self._processor.decode([int(i) for i in ids if i not in SPECIAL])
        return text.replace("\n", " ").replace("\r", " ")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The pieces with these ids, as SentencePiece writes them, special ones included."""
        every = self._every_piece
        return [every[i] for i in ids]

    @cached_property
    def _every_piece(self) -> list[str]:
        return [self._processor.id_to_piece(i) for i in range(len(self))]

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())


def _processor(model: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        if not model:
            raise RuntimeError("the file is empty")
        processor.load_from_serialized_proto(model)
        ids = tuple(
            getattr(processor, f"{special}_id")() for special in ("pad", "unk", "bos", "eos")
        )
    except RuntimeError:
        raise CorpusError(
            f"`{name}` must be a SentencePiece model, but is damaged or something else instead; "
            "download it again, or train a new one."
        ) from None
    if ids != SPECIAL:
        raise CorpusError(
            f"`{name}` must have the ids pad, unk, bos, eos = {SPECIAL}, but has {ids} instead; "
            "train it with these, or let nmt-train train a vocabulary."
        )
    return processor


def _sample(lines: Iterable[str], size: int) -> list[str]:
    """A uniform sample of at most `size` lines (reservoir sampling)."""
    rng = random.Random(SAMPLE_SEED)
    sample: list[str] = []
    for number, line in enumerate(lines):
        if number < size:
            sample.append(line)
        elif (place := rng.randrange(number + 1)) < size:
            sample[place] = line
    return sample


def _train(lines: list[str], config: VocabularyConfig) -> bytes:
    if not any(line.strip() for line in lines):
        raise CorpusError(
            "The vocabulary must be trained on at least one line of text, but there is none "
            "instead; check `data.train`."
        )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=config.size,
            model_type=config.kind,
            character_coverage=config.character_coverage,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            byte_fallback=True,  # rare characters become bytes, so that no text is unknown
            split_digits=True,  # so that numbers are copied digit by digit
            # Normalises full-width letters, ligatures and the many kinds of spaces in sources and
            # in training targets. References are scored as they are in their file.
            normalization_rule_name="nmt_nfkc",
            num_threads=THREADS,
            minloglevel=ERRORS_ONLY,
        )
    except RuntimeError as error:
        raise _explain(str(error), config) from None
    return model.getvalue()


def _explain(message: str, config: VocabularyConfig) -> CorpusError:
    given = f"but is {config.size} instead"
    if match := re.search(r"too high.*<= (\d+)", message):
        return CorpusError(
            f"`data.vocabulary.size` must be at most {match[1]} for this corpus, {given}; "
            "lower it, or add more text."
        )
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return CorpusError(
            f"`data.vocabulary.size` must be at least {match[1]} for this corpus, {given}; "
            "raise it, or lower `data.vocabulary.character_coverage`."
        )
    return CorpusError(
        f"SentencePiece must be able to train on the training text, but reports “{message}”; "
        "check the corpus for lines that are not text."
    )
