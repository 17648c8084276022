"""`Translator`: a loaded model folder that translates, for the commands, the server and Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from nmt.config import DecodeConfig, UseConfig, find_direction
from nmt.corpus.vocabulary import Vocabulary
from nmt.decoding.bulk import search
from nmt.decoding.engine import Engine, Hypothesis
from nmt.decoding.long_sources import joined, without_alignment
from nmt.decoding.translation import TextCodec, Translation, aligned_text, load_vocabulary
from nmt.errors import InputError, PlanError
from nmt.model.folder import ModelDescription, read_description, read_weights
from nmt.model.graph import LayerGraph
from nmt.model.shortlist import Shortlist
from nmt.placement.plan import Plan
from nmt.precision.fastest import fastest
from nmt.precision.formats import Name, format_of, require
from nmt.runtime.stepper import Stepper
from nmt.text.markup import parse_document

SURROGATE = re.compile("[\ud800-\udfff]")

# Used where no settings are given; the same as conf/decode/beam5.yaml (compared by a test).
DEFAULT = DecodeConfig(
    beam_size=5,
    length_penalty=0.6,
    coverage_penalty=0.1,
    n_best=1,
    max_source_tokens=None,
    max_length_ratio=2.0,
    max_length_offset=20,
    no_repeat_ngram=4,
    max_repeats=3,
    batch_sentences=64,
    shortlist=True,
)


class Translator(TextCodec):
    """A loaded model. Not thread-safe."""

    def __init__(
        self,
        description: ModelDescription,
        vocabulary: Vocabulary,
        stepper: Stepper,
        decode: DecodeConfig = DEFAULT,
        precision: Name = "fp32",
    ) -> None:
        """Most callers want `load`. `precision` is the number format of the stepper."""
        super().__init__(description, vocabulary)
        self.precision = precision
        self.stepper = stepper
        self.decode = decode

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        plan: Plan | str | Path | None = None,
        device: str = "auto",
        precision: Name | Literal["auto"] = "fp32",
        emulate: bool = False,
        threads: int | None = None,
        decode: DecodeConfig | None = None,
    ) -> Translator:
        """Read a model folder, such as runs/demo/best.

        A `plan`, or the file of one, places layers on several devices, all driven by this process;
        without a plan all layers are on `device` ("auto": CUDA where there is one). `emulate`
        allows bf16 on a CPU without bf16 instructions. `precision="auto"` takes the fastest format
        of the first device, int8 only for model folders with int8 weights. `threads` sets the
        number of CPU threads of the whole process.

        Raises:
            ModelFolderError: the folder is not complete, or its files do not fit each other.
            PlanError: the plan is not for this model.
            InputError: the machine does not have the device.
            ConfigurationError: the device does not support bf16 or int8.
        """
        folder = Path(folder)
        description = read_description(folder)
        graph = description.graph()
        device_of = _devices(graph, plan, device)
        if threads is not None:
            torch.set_num_threads(threads)
        devices = sorted({device_of(layer) for layer in graph.names})
        if precision == "auto":
            # int8 only for models that were exported for it; others may lose quality.
            formats: list[Name] = ["fp32", "bf16"]
            formats += ["int8"] if description.weights == "int8" else []
            precision = fastest(formats, devices[0], description.model.width)
        for name in devices:
            require(precision, name, emulate)
        vocabulary = load_vocabulary(folder, description)
        weights = read_weights(folder, description)
        shortlist = Shortlist.load(folder, description.vocabulary_size)
        stepper = Stepper(graph, weights, device_of, format_of(precision), shortlist)
        return cls(description, vocabulary, stepper, decode or DEFAULT, precision)

    @classmethod
    def from_settings(cls, folder: str | Path, use: UseConfig, decode: DecodeConfig) -> Translator:
        """`load` with the settings of a command; raises the same errors."""
        return cls.load(
            folder,
            plan=use.plan,
            device=use.device,
            precision=use.precision.name,
            emulate=use.precision.emulate,
            threads=use.threads,
            decode=decode,
        )

    def engine(self, decode: DecodeConfig, alignments: bool) -> Engine:
        """A new running batch for sentences that are all searched with these settings."""
        return Engine(self.stepper, decode, alignments)

    @property
    def where(self) -> str:
        """The devices that translate, with the number of threads of a CPU, for reports."""
        devices = self.stepper.devices
        names = ", ".join(devices)
        threads = torch.get_num_threads()
        return f"{names} with {threads} threads" if "cpu" in devices else names

    def translate(
        self,
        texts: Iterable[str],
        decode: DecodeConfig | None = None,
        *,
        source: str | None = None,
        target: str | None = None,
        alignments: bool = False,
    ) -> list[Translation]:
        """Translate segments, in order; a blank one has a blank translation. None of them is split
        but those with more than `decode.max_source_tokens` pieces.

        `source` and `target` are language codes, such as `source="en", target="de"`. They may be
        left out where the model's `directions` leave no choice.

        Raises:
            InputError: a text is not a string, or is not Unicode; or the languages are none of the
                model's directions, or leave a choice of several.
            ModelFolderError: the model's weights are not finite.
        """
        texts = checked_texts(texts)
        direction = find_direction(self.directions, source, target)
        decode = decode or self.decode
        sources = self.vocabulary.encode_batch(texts)
        longest = decode.max_source_tokens or self.longest_source
        splitter = self.splitter(direction, longest)
        documents = {
            place: splitter.document(texts[place], "nonewlines")
            for place, pieces in enumerate(sources)
            if len(pieces) > longest
        }
        for place in documents:
            sources[place] = []  # its segments come behind all others
        segments = [one.text for document in documents.values() for one in document.segments]
        sources += self.vocabulary.encode_batch(segments)
        aligned = alignments or any(one.needs_alignments for one in documents.values())
        found = self._search(sources, decode, aligned)
        translations = [
            self.translation(pieces, found[place]) if place in found else _blank(aligned)
            for place, pieces in enumerate(sources)
        ]
        parts = iter(translations[len(texts) :])
        translations = [without_alignment(one, alignments) for one in translations[: len(texts)]]
        for place, document in documents.items():
            own = list(islice(parts, len(document.segments)))
            translations[place] = joined(document, own, alignments)
        return translations

    def translate_stream(
        self,
        lines: Iterable[str],
        buffer: int,
        decode: DecodeConfig | None = None,
        *,
        source: str | None = None,
        target: str | None = None,
        alignments: bool = False,
    ) -> Iterator[Translation]:
        """Translate any number of segments, in order, `buffer` of them in memory at a time; the
        rest as in `translate`."""
        assert buffer >= 1, "a buffer holds a line"
        waiting = iter(lines)
        while texts := list(islice(waiting, buffer)):
            yield from self.translate(
                texts, decode, source=source, target=target, alignments=alignments
            )

    def _search(
        self, sources: Sequence[Sequence[int]], decode: DecodeConfig, alignments: bool
    ) -> dict[int, list[Hypothesis]]:
        """Hypotheses for each source that is not empty, by its place."""
        # PyTorch's operations share their work among threads themselves.
        threads = torch.get_num_threads() if self.stepper.native is not None else 1
        return search(
            lambda each: Engine(self.stepper, decode, alignments, threads=each),
            sources,
            decode.batch_sentences,
            threads,
        )

    def translate_texts(
        self,
        texts: Iterable[str],
        markup: Literal["text", "html", "xml"] = "text",
        decode: DecodeConfig | None = None,
        *,
        source: str | None = None,
        target: str | None = None,
    ) -> list[str]:
        """Translate texts of any length, sentence by sentence. White space, markup, addresses and
        placeholders are kept. `source` and `target` as in `translate`.

        Raises:
            InputError: a text is not a string, or is not Unicode; or the languages are none of the
                model's directions, or leave a choice.
            ModelFolderError: the model's weights are not finite.
        """
        texts = checked_texts(texts)
        direction = find_direction(self.directions, source, target)
        splitter = self.splitter(direction, (decode or self.decode).max_source_tokens)
        documents = [parse_document(splitter, text, markup) for text in texts]
        segments = [segment.text for one in documents for segment in one.segments]
        aligned = any(one.needs_alignments for one in documents)
        translations = self.translate(
            segments, decode, source=source, target=target, alignments=aligned
        )
        readings = map(aligned_text, translations)
        return [one.join(list(islice(readings, len(one.segments)))) for one in documents]


def checked_texts(texts: Iterable[str]) -> list[str]:
    """The texts, once they are known to be ones.

    Raises:
        InputError: they are not a list of strings, or one has half of a surrogate pair, which no
            encoding of Unicode has.
    """
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        kind = "one string" if isinstance(texts, str) else type(texts).__name__
        raise InputError(f"`texts` must be a list of strings, but is {kind} instead.")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(
                f"`texts[{place}]` must be a string, but is {type(text).__name__} instead."
            )
        if not text.isascii() and (surrogate := SURROGATE.search(text)):
            raise InputError(
                f"`texts[{place}]` must be Unicode text, but has a lone surrogate "
                f"(U+{ord(surrogate[0]):04X}) at character {surrogate.start()} instead."
            )
    return found


def _blank(alignments: bool) -> Translation:
    return Translation("", 0.0, 0.0, [], [], np.zeros((0, 0)) if alignments else None, [], False)


def _devices(
    graph: LayerGraph, plan: Plan | str | Path | None, device: str
) -> Callable[[str], str]:
    """The device of each layer, all of them checked to exist."""
    if plan is None:
        device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        _check_device(device, InputError)
        return lambda _: device
    if not isinstance(plan, Plan):
        plan = Plan.load(plan)
    plan.validate_against(graph.name, graph.names)
    plan.require_one_host()
    for name in plan.devices:
        _check_device(name, PlanError)
    return plan.device_of


def _check_device(name: str, kind: type[InputError] | type[PlanError]) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise kind(f"A device must be cpu, cuda or cuda:N, but is {name!r} instead.") from None
    here = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type not in ("cpu", "cuda"):
        raise kind(f"A device must be cpu, cuda or cuda:N, but is {name!r} instead.")
    if (device.index or 0) >= here and device.type == "cuda":
        raise kind(
            f"The device must exist, but `{name}` does not: this machine has {here} CUDA devices; "
            "use `device=cpu`."
        )
