"""LibreTranslate's dialect. Our additions are opt-in: `scores`, `alignments`, `beam_size` and
`max_length`.

Errors are `{"error": text}`, in LibreTranslate's words where it has them.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from nmt.config import LimitsConfig
from nmt.decoding import Translation
from nmt.text import Markup
from serve.detection import Detected
from serve.languages import name_of
from serve.models import Models
from serve.parameters import (
    TEXT,
    Parameters,
    RequestModel,
    Switch,
    Texts,
    Unchecked,
    mistake,
    validated,
    whole_number,
)
from serve.service import AUTO, TextTranslation, TranslationRequest

LONGEST = 500  # pieces of a translation that may be asked for


def _code(value: Any) -> str:
    if not isinstance(value, str):
        raise mistake(f"{value} is not supported")
    return value.strip().lower()


def _format(value: Any) -> Markup:
    if value not in ("text", "html"):
        raise mistake(f"{value} format is not supported")
    return "html" if value == "html" else "text"


Code = Annotated[str, BeforeValidator(_code), WithJsonSchema(TEXT)]
Format = Annotated[
    Markup,
    BeforeValidator(_format),
    WithJsonSchema({"type": "string", "enum": ["text", "html"], "default": "text"}),
]


class TranslateRequest(RequestModel):
    """`POST /translate`. `request_model` adds what a server's limits bound."""

    q: Texts
    source: Annotated[Code, Field(description="A language's code, or auto.")]
    target: Code
    format: Format = "text"
    alternatives: int = 0
    beam_size: int | None = None
    max_length: int | None = None
    scores: Switch = False
    alignments: Switch = False
    api_key: Unchecked = None


class DetectRequest(RequestModel):
    """`POST /detect`."""

    q: Texts
    api_key: Unchecked = None


class Detection(TypedDict):
    """A language, and how sure that is, 0 to 100."""

    confidence: float
    language: str


class Alignment(TypedDict):
    """A row of weights over the source's pieces for each piece of the translation."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]


class TranslateAnswer(TypedDict):
    """The answer to one text; to a list of texts, each field is a list."""

    translatedText: str | list[str]
    detectedLanguage: NotRequired[Detection | list[Detection]]
    alternatives: NotRequired[list[str] | list[list[str]]]
    scores: NotRequired[float | list[float | None] | None]
    confidence: NotRequired[float | list[float | None] | None]
    truncated: NotRequired[bool | list[bool]]
    alignments: NotRequired[list[Alignment] | list[list[Alignment]]]


class Language(TypedDict):
    """A language, and those that it can be translated into."""

    code: str
    name: str
    targets: list[str]


@cache
def request_model(limits: LimitsConfig) -> type[TranslateRequest]:
    """The model of `POST /translate` within a server's limits."""
    fields: dict[str, Any] = {
        "alternatives": (whole_number(0, limits.alternatives), 0),
        "beam_size": (whole_number(1, limits.beam_size), None),
        "max_length": (whole_number(1, LONGEST), None),
    }
    return create_model("TranslateRequest", __base__=TranslateRequest, **fields)


def missing(name: str) -> str:
    """What is said of a parameter that is not there."""
    return f"Invalid request: missing {name} parameter"


def parse_translate(
    parameters: Parameters, limits: LimitsConfig
) -> tuple[TranslateRequest, TranslationRequest]:
    """`POST /translate`, as it came and as the service reads it.

    Raises:
        RequestError: the parameters are not valid.
    """
    found = validated(request_model(limits), parameters, missing)
    return found, TranslationRequest(
        texts=found.q,
        source=found.source,
        target=found.target,
        markup=found.format,
        alternatives=found.alternatives,
        beam_size=found.beam_size,
        longest=found.max_length,
        alignments=found.alignments,
    )


def answer(
    parameters: Parameters, found: TranslateRequest, translations: list[TextTranslation]
) -> dict[str, Any]:
    """The body of the answer: to a single text its values, to a list of texts lists of them."""
    answers: list[dict[str, Any]] = [dict(_answer_to(found, one)) for one in translations]
    if isinstance(parameters["q"], str):
        return answers[0]
    return {key: [one[key] for one in answers] for key in answers[0]} if answers else {}


def _answer_to(found: TranslateRequest, one: TextTranslation) -> TranslateAnswer:
    values: TranslateAnswer = {"translatedText": one.text}
    if found.source == AUTO:
        assert one.detected is not None, "it was asked for"
        values["detectedLanguage"] = detection(one.detected)
    if found.alternatives:
        values["alternatives"] = one.alternatives
    if found.scores:
        values["scores"] = one.score
        values["confidence"] = one.confidence
        values["truncated"] = one.truncated
    if found.alignments:
        values["alignments"] = [_alignment(sentence) for sentence in one.sentences]
    return values


def detection(one: Detected) -> Detection:
    """A detected language as clients read it."""
    return {"confidence": one.confidence, "language": one.language}


def _alignment(sentence: Translation) -> Alignment:
    assert sentence.alignment is not None, "it was asked for"
    return {
        "source": sentence.source_tokens,
        "target": sentence.tokens,
        "weights": [[round(weight, 4) for weight in row] for row in sentence.alignment.tolist()],
    }


def languages(models: Models) -> list[Language]:
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
