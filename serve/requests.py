"""Requests in LibreTranslate's form: reading and checking them.

Parameters come from a JSON body, or from the query string and a form body merged. Ours beside
LibreTranslate's, both opt-in: `scores` and `alignments`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from serve.lines import Lines, split

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class RequestError(Exception):
    """What a client did wrong, and the status to answer with."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text, self.status = text, status


@dataclass(frozen=True)
class Limits:
    """What this server and its model allow."""

    source_language: str
    target_language: str
    max_sentences: int  # texts, and lines with letters, in one request
    max_characters: int  # in one line
    max_alternatives: int


@dataclass(frozen=True)
class TranslationRequest:
    """A checked request for translations."""

    texts: list[Lines]
    single: bool  # one text was asked for, not a list of texts
    auto: bool  # the source language was to be detected
    alternatives: int
    scores: bool
    alignments: bool


async def read_parameters(request: Request, max_body_bytes: int) -> dict[str, Any]:
    """The parameters of a POST request, unchecked.

    Raises:
        RequestError: 413 for a body over the limit, 400 for one that cannot be read.
    """
    body = await _read_body(request, max_body_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        return _from_json(body)
    if body and kind not in (FORM, ""):
        raise RequestError(
            f"Invalid request: the content type must be {JSON} or {FORM}, but is {kind} instead"
        )
    try:
        pairs = [
            *parse_qsl(
                request.scope["query_string"].decode("utf-8"),
                keep_blank_values=True,
                errors="strict",
            ),
            *parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict"),
        ]
    except ValueError:
        raise RequestError("Invalid request: the parameters must be UTF-8") from None
    return dict(reversed(pairs))  # the first of several with the same name


def check(parameters: Mapping[str, Any], limits: Limits) -> TranslationRequest:
    """Turn parameters into a request that can be carried out.

    Raises:
        RequestError: with status 400, in LibreTranslate's words where it has them.
    """
    for name in ("q", "source", "target"):
        if not parameters.get(name):
            raise RequestError(f"Invalid request: missing {name} parameter")
    q, source, target = (parameters[name] for name in ("q", "source", "target"))
    single = isinstance(q, str)
    texts = [q] if single else q
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RequestError("Invalid request: q must be a text or a list of texts")
    for language, allowed in (
        (source, ("auto", limits.source_language)),
        (target, (limits.target_language,)),
    ):
        if not isinstance(language, str) or language not in allowed:
            raise RequestError(f"{language} is not supported")
    if (form := parameters.get("format") or "text") != "text":
        raise RequestError(f"{form} format is not supported")
    return TranslationRequest(
        texts=_split(texts, limits),
        single=single,
        auto=source == "auto",
        alternatives=_count(parameters, "alternatives", limits.max_alternatives),
        scores=_switch(parameters, "scores"),
        alignments=_switch(parameters, "alignments"),
    )


async def _read_body(request: Request, limit: int) -> bytes:
    too_large = RequestError(f"Invalid request: the body must have at most {limit} bytes", 413)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("Invalid JSON format") from None
    if not isinstance(values, dict):
        raise RequestError("Invalid JSON format")
    return values


def _split(texts: Sequence[str], limits: Limits) -> list[Lines]:
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
            raise RequestError("Invalid request: q must be valid Unicode") from None
    split_texts = [split(text) for text in texts]
    lines = [line for text in split_texts for line in text.segments]
    if (count := max(len(lines), len(texts))) > limits.max_sentences:
        raise RequestError(
            f"Invalid request: q must have at most {limits.max_sentences} texts and lines, "
            f"but has {count} instead"
        )
    if (longest := max(map(len, lines), default=0)) > limits.max_characters:
        raise RequestError(
            f"Invalid request: a line of q must have at most {limits.max_characters} characters, "
            f"but has {longest} instead"
        )
    return split_texts


def _count(parameters: Mapping[str, Any], name: str, limit: int) -> int:
    value = parameters.get(name)
    if value is None or value == "":
        return 0
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RequestError(f"Invalid request: {name} must be a number, 0 or more")
    if value > limit:
        raise RequestError(
            f"Invalid request: {name} must be at most {limit}, but is {value} instead"
        )
    return value


def _switch(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name)
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False, "": False}.get(value.lower())
        if value is None:
            raise RequestError(f"Invalid request: {name} must be true or false")
    if value is not None and not isinstance(value, bool):
        raise RequestError(f"Invalid request: {name} must be true or false")
    return bool(value)
