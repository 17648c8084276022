"""Parameters of requests: read from wherever clients put them, and validated by a dialect's model.

Forms and query strings carry text only, so that numbers and switches are read from text, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from serve.errors import RequestError

MOST_FIELDS = 5000  # of a form
DISCARDED = 8  # times the largest body: that much of a larger one is read before the answer
FORM, JSON = "application/x-www-form-urlencoded", "application/json"

Parameters = Mapping[str, Any]


async def read_parameters(
    request: Request, most_bytes: int, lists: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The parameters of a JSON body, or of the query string and a form body together, as they came.
    If a name occurs several times, the first value counts; names in `lists` get all of them. A
    GET's JSON body is ignored.

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


class RequestModel(BaseModel):
    """Base of the dialects' requests. Parameters that it does not name are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


SomeRequest = TypeVar("SomeRequest", bound=RequestModel)


def validated(
    model: type[SomeRequest], parameters: Parameters, missing: Callable[[str], str]
) -> SomeRequest:
    """The parameters as a dialect's request. An empty value counts as none.

    Raises:
        RequestError: with one sentence: of the first parameter that is `missing`, or else of the
            first mistake.
    """
    given = {name: value for name, value in parameters.items() if value not in (None, "", [])}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        absent = next((one for one in mistakes if one["type"] == "missing"), None)
        if absent is not None:
            raise RequestError(missing(str(absent["loc"][0]))) from None
        raise RequestError(mistakes[0]["msg"]) from None


def mistake(sentence: str) -> PydanticCustomError:
    """What a validator raises."""
    return PydanticCustomError("request", "{sentence}", {"sentence": sentence})


def _texts(value: Any, info: ValidationInfo) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise mistake(f"Invalid request: {info.field_name} must be a text or a list of texts")
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
            raise mistake(f"Invalid request: {info.field_name} must be valid Unicode") from None
    return texts


def _switch(value: Any, info: ValidationInfo) -> bool:
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    if not isinstance(value, bool):
        raise mistake(f"Invalid request: {info.field_name} must be true or false")
    return value


TEXT = {"type": "string"}
TEXT_LIST = {"type": "array", "items": TEXT}

# One text or several → a list.
Texts = Annotated[list[str], BeforeValidator(_texts), WithJsonSchema({"oneOf": [TEXT, TEXT_LIST]})]
# The same where documents ask for several.
TextList = Annotated[list[str], BeforeValidator(_texts), WithJsonSchema(TEXT_LIST)]
Switch = Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"type": "boolean"})]
# Anything, documented as text: checked elsewhere, or ignored.
Unchecked = Annotated[Any, WithJsonSchema(TEXT)]


def whole_number(least: int, most: int) -> Any:
    """The type of a whole number from `least` to `most`, which may be written as text."""

    def check(value: Any, info: ValidationInfo) -> int:
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise mistake(f"Invalid request: {info.field_name} must be a number, {least} or more")
        if value > most:
            raise mistake(
                f"Invalid request: {info.field_name} must be at most {most}, but is {value} instead"
            )
        return value

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Annotated[int, BeforeValidator(check), WithJsonSchema(schema)]
