"""The server's OpenAPI document."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nmt.config import LimitsConfig

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
Schema = dict[str, Any]


def _object(required: str, **properties: Schema) -> Schema:
    """An object; the names of what it must have, with spaces between."""
    return {"type": "object", "required": required.split(), "properties": properties}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
ERROR = _object("error", error=TEXT)
DEEPL_ERROR = _object("message", message=TEXT, detail=TEXT)
TEXTS: Schema = {"oneOf": [TEXT, _array(TEXT)]}
DETECTED = _object("confidence language", confidence=NUMBER, language=TEXT)
STATUS = _object("status", status=TEXT)
REASONS = {
    "400": "The request is not as it must be.",
    "403": "The API key is wrong.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "429": "This client has asked for too much in the last minute.",
    "503": "Too much is waiting, or the server is starting or ending; see Retry-After.",
    "504": "The translation took too long.",
}


def specification(limits: LimitsConfig) -> dict[str, Any]:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pipeline-nmt",
            "version": _version(),
            "description": "Translation in the forms of LibreTranslate and of DeepL.",
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "deepl": {"type": "apiKey", "in": "header", "name": "Authorization"},
            }
        },
        "security": [{}, {"bearer": []}, {"deepl": []}],
        "paths": {
            "/translate": {"post": _translate(limits)},
            "/detect": {
                "post": _operation(
                    "Which language is it?",
                    _array(DETECTED),
                    _body({"q": TEXT}, ["q"]),
                )
            },
            "/languages": {"get": _operation("The languages", _languages())},
            "/frontend/settings": {"get": _operation("Settings of a page", {"type": "object"})},
            "/spec": {"get": _operation("This document", {"type": "object"})},
            "/v2/translate": {"post": _translate_deepl()},
            "/v2/languages": {"get": _languages_deepl()},
            "/v2/usage": {
                "get": _operation(
                    "Characters so far",
                    _object(
                        "character_count character_limit",
                        character_count=WHOLE,
                        character_limit=WHOLE,
                    ),
                    error=DEEPL_ERROR,
                )
            },
            "/health": {"get": _operation("The server runs", STATUS)},
            "/livez": {"get": _operation("The model runs", STATUS)},
            "/readyz": {"get": _operation("Requests are carried out", STATUS)},
            "/v2/health/live": {"get": _operation("As /livez", STATUS, error=DEEPL_ERROR)},
            "/v2/health/ready": {"get": _operation("As /readyz", STATUS, error=DEEPL_ERROR)},
            "/status": {"get": _operation("Figures of now", {"type": "object"})},
            "/metrics": {
                "get": {
                    "summary": "Prometheus metrics",
                    "responses": {"200": {"description": "Metrics", "content": {"text/plain": {}}}},
                }
            },
        },
    }


def _version() -> str:
    try:
        return version("pipeline-nmt")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _operation(
    summary: str, answer: Schema, body: Schema | None = None, error: Schema = ERROR
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "content": {JSON: {"schema": answer}}},
            **{
                status: {"description": reason, "content": {JSON: {"schema": error}}}
                for status, reason in REASONS.items()
            },
        },
    }
    return found if body is None else found | {"requestBody": body}


def _body(properties: dict[str, Schema], required: list[str]) -> Schema:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"required": True, "content": {kind: {"schema": schema} for kind in (JSON, FORM)}}


def _translate(limits: LimitsConfig) -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0, "maximum": limits.alternatives, "default": 0}
    properties: dict[str, Schema] = {
        "q": TEXTS,
        "source": {**TEXT, "description": "A language's code, or auto."},
        "target": TEXT,
        "format": {"type": "string", "enum": ["text", "html"], "default": "text"},
        "alternatives": count,
        "api_key": TEXT,
        "scores": {"type": "boolean"},
        "alignments": {"type": "boolean"},
        "beam_size": {"type": "integer", "minimum": 1, "maximum": limits.beam_size},
        "max_length": {"type": "integer", "minimum": 1},
    }
    answer = _object(
        "translatedText",
        translatedText=TEXTS,
        detectedLanguage={"oneOf": [DETECTED, _array(DETECTED)]},
        alternatives={"type": "array"},
        alignments={"type": "array"},
    )
    return _operation("Translate", answer, _body(properties, ["q", "source", "target"]))


def _languages() -> Schema:
    return _array(_object("code name targets", code=TEXT, name=TEXT, targets=_array(TEXT)))


def _translate_deepl() -> dict[str, Any]:
    properties: dict[str, Schema] = {
        "text": _array(TEXT),
        "target_lang": TEXT,
        "source_lang": TEXT,
        "tag_handling": {"type": "string", "enum": ["xml", "html"]},
        "split_sentences": {"type": "string", "enum": ["0", "1", "nonewlines"]},
        "preserve_formatting": {"type": "boolean"},
    }
    translation = _object(
        "detected_source_language text billed_characters",
        detected_source_language=TEXT,
        text=TEXT,
        billed_characters=WHOLE,
    )
    answer = _object("translations", translations=_array(translation))
    body = _body(properties, ["text", "target_lang"])
    return _operation("Translate, as DeepL", answer, body, DEEPL_ERROR)


def _languages_deepl() -> dict[str, Any]:
    answer = _array(_object("language name", language=TEXT, name=TEXT))
    kind = {
        "name": "type",
        "in": "query",
        "schema": {"type": "string", "enum": ["source", "target"]},
    }
    found = _operation("The languages, as DeepL", answer, error=DEEPL_ERROR)
    return found | {"parameters": [kind]}
