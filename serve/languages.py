"""Names of languages, for clients that show them."""

from __future__ import annotations

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def name_of(code: str) -> str:
    """A language's English name, such as German for de and Chinese (Simplified) for zho_Hans. A
    code that CLDR does not know stands for itself, and is logged once."""
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(code)
    except LanguageTagError:
        language = None
    if language is None or not language.is_valid():
        logger.warning("no name is known for the language %s; clients are shown its code", code)
        return code
    return language.display_name()
