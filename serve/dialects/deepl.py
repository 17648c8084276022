"""DeepL's dialect, version 2. Errors are `{"message": text, "detail": text}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from nmt.text import Markup, Splitting
from serve.languages import name_of
from serve.models import Models
from serve.parameters import (
    TEXT,
    Parameters,
    RequestModel,
    TextList,
    Unchecked,
    mistake,
    validated,
)
from serve.service import AUTO, TextTranslation, TranslationRequest

LISTS = frozenset({"text"})
# The official client refuses these as targets without a region.
REGIONS = {"en": ("EN-GB", "EN-US"), "pt": ("PT-BR", "PT-PT")}
REGION_NAMES = {
    "EN-GB": "English (British)",
    "EN-US": "English (American)",
    "PT-BR": "Portuguese (Brazilian)",
    "PT-PT": "Portuguese (European)",
}
SPLITTING: dict[str, Splitting] = {"0": "none", "1": "sentences", "nonewlines": "nonewlines"}
SWITCHES = ("0", "1", "false", "true", False, True)


def _unsupported(name: str | None) -> Any:
    return mistake(f"Value for '{name}' not supported.")


def _code(value: Any, info: ValidationInfo) -> str:
    if not isinstance(value, str):
        raise _unsupported(info.field_name)
    return value.strip().lower().partition("-")[0]  # EN-US is our en


def _no_glossary(value: Any) -> None:
    if value:
        raise mistake("Value for 'glossary_id' not supported: there are no glossaries.")


def _formality(value: Any) -> str:
    if str(value).lower() in ("more", "less"):
        raise mistake("Value for 'formality' not supported; use 'prefer_more' or 'default'.")
    return str(value)


def _tags(value: Any, info: ValidationInfo) -> Markup:
    match str(value).lower():
        case "text":
            return "text"
        case "html":
            return "html"
        case "xml":
            return "xml"
    raise _unsupported(info.field_name)


def _splitting(value: Any, info: ValidationInfo) -> Splitting:
    if str(value) not in SPLITTING:
        raise _unsupported(info.field_name)
    return SPLITTING[str(value)]


def _ignored_switch(value: Any, info: ValidationInfo) -> None:
    if value not in SWITCHES:
        raise _unsupported(info.field_name)


Code = Annotated[str, BeforeValidator(_code), WithJsonSchema(TEXT)]
IgnoredSwitch = Annotated[
    None, BeforeValidator(_ignored_switch), WithJsonSchema({"type": "boolean"})
]


class DeepLTranslateRequest(RequestModel):
    """`POST /v2/translate`."""

    glossary_id: Annotated[None, BeforeValidator(_no_glossary), WithJsonSchema(TEXT)] = None
    formality: Annotated[str, BeforeValidator(_formality), WithJsonSchema(TEXT)] = "default"
    tag_handling: Annotated[
        Markup,
        BeforeValidator(_tags),
        WithJsonSchema({"type": "string", "enum": ["xml", "html"]}),
    ] = "text"
    split_sentences: Annotated[
        Splitting | None,
        BeforeValidator(_splitting),
        WithJsonSchema({"type": "string", "enum": list(SPLITTING)}),
    ] = None
    preserve_formatting: IgnoredSwitch = None
    outline_detection: IgnoredSwitch = None
    text: TextList
    target_lang: Code
    source_lang: Code = AUTO
    auth_key: Unchecked = None


class DeepLTranslation(TypedDict):
    """One text of the answer."""

    detected_source_language: str
    text: str
    billed_characters: int


class DeepLTranslateAnswer(TypedDict):
    """The answer to `POST /v2/translate`."""

    translations: list[DeepLTranslation]


class DeepLLanguage(TypedDict):
    """A language of `GET /v2/languages`."""

    language: str
    name: str
    supports_formality: NotRequired[bool]


class DeepLUsage(TypedDict):
    """The answer to `GET /v2/usage`."""

    character_count: int
    character_limit: int


def _missing(name: str) -> str:
    if name == "text":
        return "Parameter 'text' not specified."
    return f"Value for '{name}' not specified."


def parse_translate(parameters: Parameters) -> TranslationRequest:
    """`POST /v2/translate` as the service reads it.

    Raises:
        RequestError: the parameters are not valid.
    """
    order = {name: parameters[name] for name in ("text", "target_lang") if name in parameters}
    found = validated(DeepLTranslateRequest, {**order, **parameters}, _missing)
    usual: Splitting = "sentences" if found.tag_handling == "text" else "nonewlines"
    return TranslationRequest(
        texts=found.text,
        source=found.source_lang,
        target=found.target_lang,
        markup=found.tag_handling,
        splitting=found.split_sentences or usual,
    )


def answer(texts: list[str], translations: list[TextTranslation]) -> DeepLTranslateAnswer:
    """The body of the answer."""
    return {
        "translations": [
            {
                "detected_source_language": one.source.upper(),
                "text": one.text,
                "billed_characters": len(text),
            }
            for text, one in zip(texts, translations, strict=True)
        ]
    }


class DeepLLanguagesRequest(RequestModel):
    """`GET /v2/languages`."""

    type: Annotated[
        Literal["source", "target"],
        BeforeValidator(lambda value, info: _side(value, info)),
        WithJsonSchema({"type": "string", "enum": ["source", "target"]}),
    ] = "source"


def _side(value: Any, info: ValidationInfo) -> Any:
    if value not in ("source", "target"):
        raise _unsupported(info.field_name)
    return value


def languages(models: Models, parameters: Parameters) -> list[DeepLLanguage]:
    """`GET /v2/languages`.

    Raises:
        RequestError: the parameters are not valid.
    """
    if validated(DeepLLanguagesRequest, parameters, _missing).type == "source":
        return [{"language": code.upper(), "name": name_of(code)} for code in models.sources]
    found: list[DeepLLanguage] = []
    for code in models.targets:
        for region in REGIONS.get(code, (code.upper(),)):
            name = REGION_NAMES.get(region, name_of(code))
            found.append({"language": region, "name": name, "supports_formality": False})
    return found
