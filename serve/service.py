"""Translates texts: language detection, segments, the running batch, and reassembly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, exp

from starlette.concurrency import run_in_threadpool

from nmt.batching import (
    ClosedError,
    DeadlineError,
    Limits,
    QueueFullError,
    RequestOptions,
    RunningBatch,
    SearchSettings,
)
from nmt.config import ServeConfig
from nmt.decoding import Alternative, Translation, aligned_text
from nmt.text import AlignedText, Document, Markup, Splitting, parse_document
from serve.detection import Detected, detect
from serve.errors import RequestError
from serve.metrics import Metrics
from serve.models import Model, Models

AUTO = "auto"
# Larger requests are split and encoded in another thread, so that they do not block the event loop.
SHORT = 2000  # characters
FEW = 8  # texts
ALIGNED = 5000  # characters of a request with alignments, which make large answers


@dataclass(frozen=True)
class TranslationRequest:
    """A request for translation, in whichever dialect it came."""

    texts: list[str]
    source: str  # a language's code, or auto
    target: str
    markup: Markup = "text"
    splitting: Splitting = "sentences"
    alternatives: int = 0
    beam_size: int | None = None
    longest: int | None = None  # most pieces of a sentence's translation
    alignments: bool = False

    @property
    def characters(self) -> int:
        """Characters of all texts."""
        return sum(map(len, self.texts))


@dataclass(frozen=True)
class TextTranslation:
    """The translation of one text."""

    text: str
    source: str  # language code of the text
    detected: Detected | None
    alternatives: list[str]
    sentences: list[Translation]

    @property
    def score(self) -> float | None:
        """Mean score of the sentences; None without any."""
        scores = [sentence.score for sentence in self.sentences]
        return sum(scores) / len(scores) if scores else None

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the pieces' probabilities over all sentences."""
        pieces = sum(len(sentence.tokens) + 1 for sentence in self.sentences)
        if not self.sentences:
            return None
        total = sum(sentence.log_probability for sentence in self.sentences)
        return exp(total / pieces)

    @property
    def truncated(self) -> bool:
        """Whether a sentence's translation reached the length limit."""
        return any(sentence.truncated for sentence in self.sentences)


class Service:
    """Translates for all dialects, through one running batch."""

    def __init__(self, models: Models | None, config: ServeConfig, metrics: Metrics) -> None:
        """Without models, the server is loading."""
        self._models, self._config, self._metrics = models, config, metrics
        limits = config.limits
        self.batch = RunningBatch(
            config.decode,
            Limits(limits.waiting_sentences, limits.waiting_tokens, config.decode.batch_sentences),
            config.continuous,
            metrics.observe,
        )
        metrics.watch(self.batch)
        self.draining = False
        if models is not None:
            self.use(models)

    @property
    def ready(self) -> bool:
        """Whether requests are translated now."""
        return self._models is not None and not self.draining

    @property
    def models(self) -> Models:
        """The models for new requests.

        Raises:
            RequestError: 503 while they are loading.
        """
        if self._models is None:
            raise self._rejected("loading", "The model is loading; try again soon", 503, 5)
        return self._models

    def use(self, models: Models) -> None:
        """Use these models from now on. Running requests keep those that they began with."""
        self._models = models
        self._metrics.model_info.clear()
        for model in models.models:
            direction, precision = model.direction, model.translator.precision
            labels = (model.name, direction.source, direction.target, precision)
            self._metrics.model_info.labels(*labels).set(1)

    def refusal(self, caller: str) -> RequestError | None:
        """Why a request of this caller would be rejected now; None: it would not."""
        return self.ending() or (None if self.batch.room_for(caller) else self._full())

    def _full(self) -> RequestError:
        text = "Too many requests are waiting; try again later"
        return self._rejected("queue", text, 503, self._patience())

    def ending(self) -> RequestError | None:
        """The error for new requests while the server shuts down; None: it does not."""
        return self._shut() if self.draining else None

    def _shut(self) -> RequestError:
        return self._rejected("draining", "The server is shutting down; try another", 503, 5)

    async def translate(
        self, wanted: TranslationRequest, caller: str, deadline: float
    ) -> list[TextTranslation]:
        """Translate all texts before `deadline` (of time.monotonic). If this is cancelled, so are
        the sentences that have not been translated.

        Raises:
            RequestError: the request is not valid, or cannot be translated now.
        """
        self._check(wanted)
        if wanted.characters > SHORT or len(wanted.texts) > FEW or wanted.source == AUTO:
            prepared = await run_in_threadpool(self._prepare, wanted)
        else:
            prepared = self._prepare(wanted)
        sentences = sum(len(one.document.segments) for one in prepared)
        if sentences > self._config.limits.sentences:
            raise RequestError(
                f"Invalid request: the texts must have at most {self._config.limits.sentences} "
                f"sentences, but have {sentences} instead"
            )
        found = await self._search(wanted, prepared, caller, deadline)
        if wanted.characters > SHORT:
            return await run_in_threadpool(_put_together, wanted, prepared, found)
        return _put_together(wanted, prepared, found)

    def check_length(self, characters: int) -> None:
        """Raises RequestError if the texts of a request are too long."""
        limit = self._config.limits.characters
        if characters > limit:
            raise RequestError(
                f"Invalid request: request ({characters}) exceeds text limit ({limit})"
            )

    def _check(self, wanted: TranslationRequest) -> None:
        limits = self._config.limits
        if len(wanted.texts) > limits.texts:
            raise RequestError(
                f"Invalid request: there must be at most {limits.texts} texts, "
                f"but there are {len(wanted.texts)}"
            )
        self.check_length(wanted.characters)
        if wanted.alignments and wanted.characters > ALIGNED:
            raise RequestError(
                f"Invalid request: alignments are for at most {ALIGNED} characters, "
                f"but there are {wanted.characters}"
            )
        models = self.models
        if wanted.source != AUTO:
            if wanted.source != wanted.target or wanted.source not in models.languages:
                models.find(wanted.source, wanted.target)
        elif wanted.target not in models.targets:
            raise RequestError(f"{wanted.target} is not supported")

    def _prepare(self, wanted: TranslationRequest) -> list[_Prepared]:
        return [self._prepare_text(text, wanted) for text in wanted.texts]

    def _prepare_text(self, text: str, wanted: TranslationRequest) -> _Prepared:
        source, detected = wanted.source, None
        if source == AUTO:
            detected = detect(text, self.models.languages_for(wanted.target))[0]
            source = detected.language
        if source == wanted.target:
            return _Prepared(source, detected, None, Document([], [text]), [])
        model = self.models.find(source, wanted.target)
        document = parse_document(model.splitter, text, wanted.markup, wanted.splitting)
        texts = [one.text for one in document.segments]
        vocabulary = model.translator.vocabulary
        many = len(texts) > FEW  # enough to pay for threads
        sources = vocabulary.encode_batch(texts) if many else list(map(vocabulary.encode, texts))
        return _Prepared(source, detected, model, document, sources)

    async def _search(
        self,
        wanted: TranslationRequest,
        prepared: Sequence[_Prepared],
        caller: str,
        deadline: float,
    ) -> list[list[Translation]]:
        """The translations of each text's segments."""
        aligned = wanted.alignments or any(one.document.needs_alignments for one in prepared)
        beams = max(wanted.beam_size or self._config.decode.beam_size, 1 + wanted.alternatives)
        options = RequestOptions(
            SearchSettings(beams, aligned), 1 + wanted.alternatives, wanted.longest
        )
        by_model: dict[Model, list[int]] = {}
        for place, one in enumerate(prepared):
            if one.model is not None:
                by_model.setdefault(one.model, []).append(place)
        submissions = []
        try:
            for model, places in by_model.items():
                sources = [source for place in places for source in prepared[place].sources]
                submissions.append(
                    self.batch.submit(model.translator, sources, options, caller, deadline)
                )
            futures = [asyncio.wrap_future(one.future) for one in submissions]
            results = await asyncio.gather(*futures)
        except QueueFullError:
            raise self._full() from None
        except ClosedError:
            raise self._shut() from None
        except DeadlineError:
            raise self.late() from None
        finally:
            self.batch.drop(submissions)
        found: list[list[Translation]] = [[] for _ in prepared]
        for places, result in zip(by_model.values(), results, strict=True):
            remaining = iter(result)
            for place in places:
                found[place] = list(islice(remaining, len(prepared[place].sources)))
        return found

    def late(self) -> RequestError:
        """The error of a request that has missed its deadline."""
        return self._rejected("deadline", "The translation took too long", 504)

    def _patience(self) -> int:
        """Seconds in which half of the queue should be done, for Retry-After."""
        now = self.batch.statistics
        speed = now.sentences / now.busy_seconds if now.busy_seconds > 1 else 10.0
        return max(1, min(60, ceil(now.waiting_sentences / 2 / max(speed, 0.1))))

    def _rejected(
        self, reason: str, text: str, status: int, retry_after: int | None = None
    ) -> RequestError:
        self._metrics.rejected.labels(reason).inc()
        return RequestError(text, status, retry_after)

    async def drain(self) -> None:
        """Accept nothing more, and wait until all accepted requests are translated."""
        self.draining = True
        await run_in_threadpool(self.batch.close)


@dataclass(frozen=True)
class _Prepared:
    """A text as segments, encoded for its model."""

    source: str
    detected: Detected | None
    model: Model | None  # None: the text is returned unchanged
    document: Document
    sources: list[list[int]]


def _put_together(
    wanted: TranslationRequest, prepared: Sequence[_Prepared], found: Sequence[list[Translation]]
) -> list[TextTranslation]:
    return [
        TextTranslation(
            text=(best := one.document.join([aligned_text(sentence) for sentence in sentences])),
            source=one.source,
            detected=one.detected,
            alternatives=_alternatives(wanted.alternatives, one.document, sentences, best),
            sentences=sentences,
        )
        for one, sentences in zip(prepared, found, strict=True)
    ]


def _alternatives(
    count: int, document: Document, sentences: Sequence[Translation], best: str
) -> list[str]:
    """Up to `count` other translations of a text, the best first, without duplicates. The n-th has
    the n-th best translation of each sentence, or its last one."""
    others = (
        document.join([_ranked(sentence, rank) for sentence in sentences])
        for rank in range(1, count + 1)
    )
    return [other for other in dict.fromkeys(others) if other != best]


def _ranked(sentence: Translation, rank: int) -> AlignedText:
    """A sentence's translation of some rank, or its last one."""
    ranked: list[Translation | Alternative] = [sentence, *sentence.alternatives]
    return aligned_text(ranked[min(rank, len(ranked) - 1)], sentence)
