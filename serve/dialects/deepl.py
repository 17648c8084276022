"""DeepL's form, version 2. Errors are `{"message": text, "detail": text}`."""

from __future__ import annotations

from typing import Any

from nmt.text import Splitting
from serve.errors import RequestError
from serve.languages import name_of
from serve.models import Models
from serve.parameters import Parameters, texts_of
from serve.service import AUTO, Translated, Wanted

LISTS = frozenset({"text"})
# The client refuses these as targets without a region.
REGIONS = {"en": ("EN-GB", "EN-US"), "pt": ("PT-BR", "PT-PT")}
REGION_NAMES = {
    "EN-GB": "English (British)",
    "EN-US": "English (American)",
    "PT-BR": "Portuguese (Brazilian)",
    "PT-PT": "Portuguese (European)",
}
SPLITTING: dict[str, Splitting] = {"0": "none", "1": "sentences", "nonewlines": "nonewlines"}
TRUE = ("1", "true", True)
FALSE = (None, "", "0", "false", False)


def wanted(parameters: Parameters) -> Wanted:
    """`POST /v2/translate`.

    Raises:
        RequestError: the parameters are not as they must be.
    """
    if not parameters.get("text"):
        raise RequestError("Parameter 'text' not specified.")
    if not parameters.get("target_lang"):
        raise RequestError("Value for 'target_lang' not specified.")
    if parameters.get("glossary_id"):
        raise RequestError("Value for 'glossary_id' not supported: there are no glossaries.")
    if str(parameters.get("formality") or "default").lower() in ("more", "less"):
        raise RequestError("Value for 'formality' not supported; use 'prefer_more' or 'default'.")
    form = str(parameters.get("tag_handling") or "text").lower()
    if form not in ("text", "html", "xml"):
        raise RequestError("Value for 'tag_handling' not supported.")
    given = parameters.get("split_sentences")
    usual = "1" if form == "text" else "nonewlines"
    splitting = usual if given in (None, "") else str(given)
    if splitting not in SPLITTING:
        raise RequestError("Value for 'split_sentences' not supported.")
    for name in ("preserve_formatting", "outline_detection"):
        if parameters.get(name) not in (*TRUE, *FALSE):
            raise RequestError(f"Value for '{name}' not supported.")
    return Wanted(
        texts=texts_of(parameters["text"], "text"),
        source=_code(parameters.get("source_lang") or AUTO, "source_lang"),
        target=_code(parameters["target_lang"], "target_lang"),
        form="html" if form == "html" else "xml" if form == "xml" else "text",
        splitting=SPLITTING[splitting],
    )


def _code(value: Any, name: str) -> str:
    """Ours: EN-US is en."""
    if not isinstance(value, str):
        raise RequestError(f"Value for '{name}' not supported.")
    return value.strip().lower().partition("-")[0]


def answer(asked: Wanted, translated: list[Translated]) -> dict[str, Any]:
    """The body of the answer."""
    return {
        "translations": [
            {
                "detected_source_language": one.source.upper(),
                "text": one.text,
                "billed_characters": len(text),
            }
            for text, one in zip(asked.texts, translated, strict=True)
        ]
    }


def languages(models: Models, kind: Any) -> list[dict[str, Any]]:
    """`GET /v2/languages`.

    Raises:
        RequestError: `kind` is neither source nor target.
    """
    kind = kind or "source"
    if kind not in ("source", "target"):
        raise RequestError("Value for 'type' not supported.")
    if kind == "source":
        return [{"language": code.upper(), "name": name_of(code)} for code in models.sources]
    found = []
    for code in models.targets:
        for region in REGIONS.get(code, (code.upper(),)):
            name = REGION_NAMES.get(region, name_of(code))
            found.append({"language": region, "name": name, "supports_formality": False})
    return found
