"""Answers in LibreTranslate's form, put together from the translations of single lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from nmt.decoding import Translation
from serve.lines import Lines
from serve.requests import TranslationRequest


def answer(
    request: TranslationRequest, translations: Sequence[Translation], source_language: str
) -> dict[str, Any]:
    """The body of the answer. `translations` are those of all texts' segments, in order.

    `scores` has the mean of a text's lines; `alignments` has an entry for each of its lines.
    """
    remaining = iter(translations)
    answers = [
        _text_answer(request, text, list(islice(remaining, len(text.segments))), source_language)
        for text in request.texts
    ]
    if request.single:
        return answers[0]
    return {key: [one[key] for one in answers] for key in answers[0]}


def _text_answer(
    request: TranslationRequest,
    text: Lines,
    translations: Sequence[Translation],
    source_language: str,
) -> dict[str, Any]:
    best = text.join([translation.text for translation in translations])
    values: dict[str, Any] = {"translatedText": best}
    if request.auto:  # the model knows one language, so there is nothing to choose from
        values["detectedLanguage"] = {"confidence": 100, "language": source_language}
    if request.alternatives:
        values["alternatives"] = _alternatives(request.alternatives, text, translations, best)
    if request.scores:
        scores = [translation.score for translation in translations]
        values["scores"] = sum(scores) / len(scores) if scores else None
        values["truncated"] = any(translation.truncated for translation in translations)
    if request.alignments:
        values["alignments"] = [_alignment(translation) for translation in translations]
    return values


def _alternatives(
    count: int, text: Lines, translations: Sequence[Translation], best: str
) -> list[str]:
    """Up to `count` other translations of the text, best first, none twice.

    The next best text has the next best translation of each line, where a line has one.
    """
    ranked = [
        [translation.text, *(other.text for other in translation.alternatives)]
        for translation in translations
    ]
    others = (
        text.join([line[min(rank, len(line) - 1)] for line in ranked])
        for rank in range(1, count + 1)
    )
    return [other for other in dict.fromkeys(others) if other != best]


def _alignment(translation: Translation) -> dict[str, Any]:
    """A row of weights over the source's pieces for each piece of the translation."""
    assert translation.alignment is not None, "it was asked for"
    return {
        "source": translation.source_tokens,
        "target": translation.tokens,
        "weights": [[round(weight, 4) for weight in row] for row in translation.alignment.tolist()],
    }
