"""Language detection, restricted to the languages of the server's models."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple


class Detected(NamedTuple):
    """A language with its confidence, 0 to 100."""

    language: str
    confidence: float


@cache
def _identifier(languages: tuple[str, ...]) -> Any:
    """py3langid restricted to these languages; None if it knows none of them."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = [language for language in languages if language in identifier.labels]
    if not known:
        return None
    identifier.set_languages(known)
    return identifier


def detect(text: str, languages: Iterable[str]) -> list[Detected]:
    """The languages that a text may be in, the most likely first. Languages that py3langid does not
    know come last, with confidence 0."""
    among = tuple(sorted(set(languages)))
    if len(among) == 1:
        return [Detected(among[0], 100.0)]
    identifier = _identifier(among)
    ranked = identifier.rank(text) if identifier is not None else []
    found = [Detected(language, round(100 * share, 1)) for language, share in ranked]
    seen = {one.language for one in found}
    return [*found, *(Detected(language, 0.0) for language in among if language not in seen)]
