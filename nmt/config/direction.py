"""Directions of translation: pairs of a source and a target language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from nmt.config.settings import Settings
from nmt.errors import InputError

# The syntax of a BCP 47 tag: a language, optionally followed by a script, a region and so on.
_CODE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")


def _language_code(value: str) -> str:
    if not _CODE.fullmatch(value):
        raise PydanticCustomError(
            "language_code",
            "a language code of letters, digits and hyphens, such as `en` or `pt-BR`",
        )
    return value


LanguageCode = Annotated[str, AfterValidator(_language_code)]


BleuTokenizer = Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
BLEU_TOKENIZER = (
    "How BLEU cuts text into words, one of sacreBLEU's tokenizers. auto follows the target "
    "language: zh for Chinese, ja-mecab and ko-mecab for Japanese and Korean where they are "
    "installed, char for those otherwise and for other languages without spaces, and 13a for all "
    "others and for files in an unknown language."
)


class Direction(Settings):
    """A source and a target language, written `en-de` or `{source: en, target: de}` in settings."""

    source: LanguageCode = Field(description="Code of the source language.")
    target: LanguageCode = Field(description="Code of the target language.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        languages = value.split("-")
        if len(languages) != 2 or not all(languages):
            raise PydanticCustomError(
                "direction",
                "two language codes, such as `en-de`, or `{source: …, target: …}` where a code "
                "has a hyphen of its own",
            )
        return {"source": languages[0], "target": languages[1]}

    @property
    def code(self) -> str:
        """The direction as `en-de`, for settings, metrics and file names."""
        return f"{self.source}-{self.target}"

    def __str__(self) -> str:
        """The direction as `en→de`, for messages."""
        return f"{self.source}→{self.target}"


def join_directions(directions: Sequence[Direction]) -> str:
    """A list of directions for messages: `en→de, de→en`."""
    return ", ".join(map(str, directions))


def find_direction(
    directions: Sequence[Direction], source: str | None = None, target: str | None = None
) -> Direction:
    """The direction of a model with these languages; None matches any language.

    Raises:
        InputError: no direction matches, or several do.
    """
    matching = [
        direction
        for direction in directions
        if source in (None, direction.source) and target in (None, direction.target)
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise InputError(
            "`source` and `target` must match one of the model's directions, but match several "
            f"({join_directions(matching)}); set both."
        )
    known = join_directions(directions)
    raise InputError(
        f"`source` and `target` must be one of the model's directions ({known}), but are "
        f"{source!r} and {target!r} instead."
    )
