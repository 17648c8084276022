"""LibreTranslate's form. Ours beside it, opt-in: `scores`, `alignments`, `beam_size`, `max_length`.

Errors are `{"error": text}`, in LibreTranslate's words where it has them.
"""

from __future__ import annotations

from typing import Any

from nmt.config import LimitsConfig
from nmt.decoding import Translation
from serve.detection import Detected
from serve.errors import RequestError
from serve.languages import name_of
from serve.models import Models
from serve.parameters import Parameters, number, switch, texts_of
from serve.service import AUTO, Translated, Wanted

MOST_LENGTH = 500  # pieces of a translation that may be asked for


def wanted(parameters: Parameters, limits: LimitsConfig) -> Wanted:
    """`POST /translate`.

    Raises:
        RequestError: the parameters are not as they must be.
    """
    for name in ("q", "source", "target"):
        if not parameters.get(name):
            raise RequestError(f"Invalid request: missing {name} parameter")
    texts = texts_of(parameters["q"], "q")
    form = parameters.get("format") or "text"
    if form not in ("text", "html"):
        raise RequestError(f"{form} format is not supported")
    return Wanted(
        texts=texts,
        source=language(parameters["source"]),
        target=language(parameters["target"]),
        form="html" if form == "html" else "text",
        alternatives=number(parameters, "alternatives", 0, limits.alternatives) or 0,
        beam_size=number(parameters, "beam_size", 1, limits.beam_size),
        longest=number(parameters, "max_length", 1, MOST_LENGTH),
        alignments=switch(parameters, "alignments"),
    )


def language(value: Any) -> str:
    """A code as ours are written.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(value, str):
        raise RequestError(f"{value} is not supported")
    return value.strip().lower()


def answer(parameters: Parameters, asked: Wanted, translated: list[Translated]) -> dict[str, Any]:
    """The body of the answer: of one text its values, of a list of texts lists of them."""
    scores = switch(parameters, "scores")
    answers = [_text_answer(asked, one, scores) for one in translated]
    if isinstance(parameters["q"], str):
        return answers[0]
    return {key: [one[key] for one in answers] for key in answers[0]} if answers else {}


def _text_answer(asked: Wanted, one: Translated, scores: bool) -> dict[str, Any]:
    values: dict[str, Any] = {"translatedText": one.text}
    if asked.source == AUTO:
        assert one.detected is not None, "it was asked for"
        values["detectedLanguage"] = detected(one.detected)
    if asked.alternatives:
        values["alternatives"] = one.alternatives
    if scores:
        values |= {
            "scores": one.score,
            "confidence": one.confidence,
            "truncated": one.truncated,
        }
    if asked.alignments:
        values["alignments"] = [_alignment(sentence) for sentence in one.sentences]
    return values


def detected(one: Detected) -> dict[str, Any]:
    """A language and its confidence."""
    return {"confidence": one.confidence, "language": one.language}


def _alignment(sentence: Translation) -> dict[str, Any]:
    """A row of weights over the source's pieces for each piece of the translation."""
    assert sentence.alignment is not None, "it was asked for"
    return {
        "source": sentence.source_tokens,
        "target": sentence.tokens,
        "weights": [[round(weight, 4) for weight in row] for row in sentence.alignment.tolist()],
    }


def languages(models: Models) -> list[dict[str, Any]]:
    """`GET /languages`."""
    return [
        {"code": code, "name": name_of(code), "targets": models.targets_of(code)}
        for code in models.languages
    ]


def settings(models: Models, limits: LimitsConfig, keys: bool) -> dict[str, Any]:
    """`GET /frontend/settings`."""
    direction = models.models[0].direction
    return {
        "apiKeys": keys,
        "charLimit": limits.characters,
        "filesTranslation": False,
        "frontendTimeout": 500,
        "keyRequired": keys,
        "language": {
            "source": {"code": direction.source, "name": name_of(direction.source)},
            "target": {"code": direction.target, "name": name_of(direction.target)},
        },
        "maxAlternatives": limits.alternatives,  # ours
        "suggestions": False,
        "supportedFilesFormat": [],
    }
