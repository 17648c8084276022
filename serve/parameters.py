"""Parameters of requests: read from wherever clients put them, and each checked by its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from serve.errors import RequestError

MOST_FIELDS = 5000  # of a form
DISCARDED = 8  # times the largest body: so much of a larger one is read, for its sender to listen
FORM, JSON = "application/x-www-form-urlencoded", "application/json"

Parameters = Mapping[str, Any]


async def read_parameters(
    request: Request, most_bytes: int, lists: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Those of a JSON body, or of the query string and a form body together, unchecked. Of several
    with one name the first counts, but for `lists`, which have all of them. A GET's JSON body is
    ignored.

    Raises:
        RequestError: 413 for a body over the limit, 400 for one that cannot be read.
    """
    body = await _read_body(request, most_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON and request.method != "GET":
        return _from_json(body)
    if body and kind not in (FORM, "") and request.method != "GET":
        raise RequestError(
            f"Invalid request: the content type must be {JSON} or {FORM}, but is {kind} instead"
        )
    try:
        pairs = [*_pairs(request.scope["query_string"]), *_pairs(body if kind != JSON else b"")]
    except ValueError:
        raise RequestError(
            f"Invalid request: the parameters must be UTF-8, and at most {MOST_FIELDS}"
        ) from None
    found: dict[str, Any] = dict(reversed(pairs))
    for name in lists & found.keys():
        found[name] = [value for key, value in pairs if key == name]
    return found


def _pairs(text: bytes) -> list[tuple[str, str]]:
    return parse_qsl(
        text.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
    )


async def _read_body(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    announced_size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if max(size, announced_size) <= limit:
            body += chunk
        elif max(size, announced_size) > DISCARDED * limit:
            break
    if max(size, announced_size) > limit:
        raise RequestError(f"Invalid request: the body must have at most {limit} bytes", 413)
    return bytes(body)


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("Invalid JSON format") from None
    if not isinstance(values, dict):
        raise RequestError("Invalid JSON format")
    return values


def texts_of(value: Any, name: str) -> list[str]:
    """A text or a list of texts.

    Raises:
        RequestError: it is something else.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"Invalid request: {name} must be a text or a list of texts")
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
            raise RequestError(f"Invalid request: {name} must be valid Unicode") from None
    return texts


def number(parameters: Parameters, name: str, least: int, most: int) -> int | None:
    """A whole number from `least` to `most`; None where there is none.

    Raises:
        RequestError: it is something else.
    """
    value = parameters.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RequestError(f"Invalid request: {name} must be a number, {least} or more")
    if value > most:
        raise RequestError(
            f"Invalid request: {name} must be at most {most}, but is {value} instead"
        )
    return value


def switch(parameters: Parameters, name: str) -> bool:
    """True or false, false where there is nothing.

    Raises:
        RequestError: it is something else.
    """
    value = parameters.get(name)
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False, "": False}.get(value.lower())
        if value is None:
            raise RequestError(f"Invalid request: {name} must be true or false")
    if value is not None and not isinstance(value, bool):
        raise RequestError(f"Invalid request: {name} must be true or false")
    return bool(value)
