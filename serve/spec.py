"""The server's OpenAPI document, made from the models that validate its requests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from nmt.config import LimitsConfig
from serve.dialects import deepl, libretranslate

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
Schema = dict[str, Any]
REASONS = {
    "400": "The request is not valid.",
    "403": "The API key is wrong.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "429": "This client has sent too many requests or characters in the last minute.",
    "503": "The queue is full, or the server is starting or shutting down; see Retry-After.",
    "504": "The translation took too long.",
}


class Error(TypedDict):
    """An error in LibreTranslate's dialect."""

    error: str


class DeepLError(TypedDict):
    """An error in DeepL's dialect."""

    message: str
    detail: str


class Status(TypedDict):
    """Health."""

    status: str


class Endpoint(NamedTuple):
    """One operation. `body` and `query` are models of its parameters, `answer` is a type."""

    verb: str
    path: str
    summary: str
    answer: Any
    body: Any = None
    query: Any = None
    error: Any = Error


def endpoints(limits: LimitsConfig) -> list[Endpoint]:
    """All operations but /metrics, which is not JSON."""
    anything = dict[str, Any]
    return [
        Endpoint(
            "post",
            "/translate",
            "Translate",
            libretranslate.TranslateAnswer,
            libretranslate.request_model(limits),
        ),
        Endpoint(
            "post",
            "/detect",
            "Detect the language",
            list[libretranslate.Detection],
            libretranslate.DetectRequest,
        ),
        Endpoint("get", "/languages", "Languages", list[libretranslate.Language]),
        Endpoint("get", "/frontend/settings", "Settings of a page", anything),
        Endpoint("get", "/spec", "This document", anything),
        Endpoint(
            "post",
            "/v2/translate",
            "Translate, as DeepL",
            deepl.DeepLTranslateAnswer,
            deepl.DeepLTranslateRequest,
            error=DeepLError,
        ),
        Endpoint(
            "get",
            "/v2/languages",
            "Languages, as DeepL",
            list[deepl.DeepLLanguage],
            query=deepl.DeepLLanguagesRequest,
            error=DeepLError,
        ),
        Endpoint("get", "/v2/usage", "Characters so far", deepl.DeepLUsage, error=DeepLError),
        Endpoint("get", "/health", "Whether the server runs", Status),
        Endpoint("get", "/livez", "Whether the models run", Status),
        Endpoint("get", "/readyz", "Whether requests are translated", Status),
        Endpoint("get", "/v2/health/live", "As /livez", Status, error=DeepLError),
        Endpoint("get", "/v2/health/ready", "As /readyz", Status, error=DeepLError),
        Endpoint("get", "/status", "Present load, for the page", anything),
    ]


def specification(limits: LimitsConfig) -> dict[str, Any]:
    """The document, OpenAPI 3.1, of a server with these limits."""
    table = endpoints(limits)
    schemas, definitions = _schemas(table)
    paths: dict[str, Any] = {}
    for one in table:
        paths.setdefault(one.path, {})[one.verb] = _operation(one, schemas)
    paths["/metrics"] = {
        "get": {
            "summary": "Prometheus metrics",
            "responses": {"200": {"description": "Metrics", "content": {"text/plain": {}}}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pipeline-nmt",
            "version": _version(),
            "description": "Translation in the dialects of LibreTranslate and of DeepL.",
        },
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "deepl": {"type": "apiKey", "in": "header", "name": "Authorization"},
            },
        },
        "security": [{}, {"bearer": []}, {"deepl": []}],
        "paths": paths,
    }


Key = tuple[str, str, str]  # verb, path, and which of the operation's schemas


def _schemas(table: Sequence[Endpoint]) -> tuple[dict[Key, Schema], Schema]:
    """Each operation's schemas, and the definitions that they refer to."""
    inputs: list[tuple[Key, JsonSchemaMode, TypeAdapter[Any]]] = [
        ((one.verb, one.path, field), "validation", TypeAdapter(getattr(one, field)))
        for one in table
        for field in ("body", "query", "answer", "error")
        if getattr(one, field) is not None
    ]
    template = "#/components/schemas/{model}"
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=template)
    return {key: schema for (key, _), schema in found.items()}, definitions.get("$defs", {})


def _operation(one: Endpoint, schemas: dict[Key, Schema]) -> dict[str, Any]:
    def schema(field: str) -> Schema:
        return schemas[one.verb, one.path, field]

    failed = {JSON: {"schema": schema("error")}}
    found: dict[str, Any] = {
        "summary": one.summary,
        "responses": {
            "200": {"description": "Done.", "content": {JSON: {"schema": schema("answer")}}},
            **{
                status: {"description": reason, "content": failed}
                for status, reason in REASONS.items()
            },
        },
    }
    if one.body is not None:
        content = {kind: {"schema": schema("body")} for kind in (JSON, FORM)}
        found["requestBody"] = {"required": True, "content": content}
    if one.query is not None:
        found["parameters"] = [
            {"name": name, "in": "query", "schema": values}
            for name, values in one.query.model_json_schema()["properties"].items()
        ]
    return found


def _version() -> str:
    try:
        return version("pipeline-nmt")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
