"""German endings, pronouns and articles."""

from __future__ import annotations

from data.grammar.meaning import Case

# Each row: masculine, feminine, neuter, plural.
Rows = dict[Case, tuple[str, str, str, str]]
COLUMN = {"m": 0, "f": 1, "n": 2}

DEFINITE: Rows = {
    "nominative": ("der", "die", "das", "die"),
    "accusative": ("den", "die", "das", "die"),
    "dative": ("dem", "der", "dem", "den"),
}
RELATIVE: Rows = {**DEFINITE, "dative": ("dem", "der", "dem", "denen")}
THIRD_PERSON: Rows = {
    "nominative": ("er", "sie", "es", "sie"),
    "accusative": ("ihn", "sie", "es", "sie"),
    "dative": ("ihm", "ihr", "ihm", "ihnen"),
}
STRONG: Rows = {  # dieser; and an adjective that stands alone
    "nominative": ("er", "e", "es", "e"),
    "accusative": ("en", "e", "es", "e"),
    "dative": ("em", "er", "em", "en"),
}
EIN: Rows = {**STRONG, "nominative": ("", "e", "", "e"), "accusative": ("en", "e", "", "e")}
WEAK: Rows = {  # an adjective after "der"
    "nominative": ("e", "e", "e", "en"),
    "accusative": ("en", "e", "e", "en"),
    "dative": ("en", "en", "en", "en"),
}
MIXED: Rows = {  # an adjective after "ein"
    "nominative": ("er", "e", "es", "en"),
    "accusative": ("en", "e", "es", "en"),
    "dative": ("en", "en", "en", "en"),
}
SPEAKERS: dict[str, dict[Case, str]] = {
    "I": {"nominative": "ich", "accusative": "mich", "dative": "mir"},
    "we": {"nominative": "wir", "accusative": "uns", "dative": "uns"},
    "who": {"nominative": "wer", "accusative": "wen", "dative": "wem"},
    "what": {"nominative": "was", "accusative": "was", "dative": "was"},
}
NUMBERS = {
    "two": "zwei",
    "three": "drei",
    "four": "vier",
    "five": "fünf",
    "six": "sechs",
    "ten": "zehn",
}
# Determiners of what is mentioned for the first time.
INDEFINITE = {"a", "kind", "many", "some", *NUMBERS}
CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "an das": "ans",
    "von dem": "vom",
    "zu dem": "zum",
    "zu der": "zur",
}
# Irregular presents: ich, er, wir.
PRESENT = {
    "sein": ("bin", "ist", "sind"),
    "haben": ("habe", "hat", "haben"),
    "werden": ("werde", "wird", "werden"),
    "mögen": ("mag", "mag", "mögen"),
    "wissen": ("weiß", "weiß", "wissen"),
}
