"""Adjectives, adverbs, times, modals, prepositions and conjunctions of the sample."""

from __future__ import annotations

from data.grammar.meaning import (
    Adjective,
    Adverb,
    Case,
    Conjunction,
    Modal,
    Preposition,
    Said,
    Tense,
    Time,
)
from data.grammar.tables import table


def _adjective(row: list[str]) -> Adjective:
    english, german, french, kinds = (cell.split() for cell in row)
    precedes = "before" in french
    french = [word for word in french if word != "before"]
    base = english[0]
    more = len(english) < 2 or english[1] == "more"
    return Adjective(
        name=base,
        english_comparative=f"more {base}" if more else english[1],
        german=german[0],
        german_stem=german[-2],
        german_comparative=german[-1],
        french=french[0],
        french_feminine=french[1],
        french_before_vowel=french[-1] if len(french) > 2 else french[0],
        french_precedes=precedes,
        kinds=frozenset(kinds),
    )


def _time(row: list[str]) -> Time:
    english, german, french, tenses = row
    return Time(Said(english, german, french), frozenset(Tense[name] for name in tenses.split()))


def _place(english: str, german: str, french: str, case: Case = "dative") -> Preposition:
    return Preposition(english, german, case, french)


ADJECTIVES = {adjective.name: adjective for adjective in map(_adjective, table("adjectives"))}
_TIMES = [_time(row) for row in table("times")]
TIMES = [time for time in _TIMES if "o'clock" not in time.said.english]
CLOCK = [time for time in _TIMES if "o'clock" in time.said.english]

WANT = Modal(
    english="want to",
    english_past="wanted to",
    german=("will", "wollen"),
    german_past="wollte",
    french=("veux", "veut", "voulons", "veulent"),
    french_past="voul",
)
CAN = Modal(
    english="can",
    english_past="could",
    german=("kann", "können"),
    german_past="konnte",
    french=("peux", "peut", "pouvons", "peuvent"),
    french_past="pouv",
)
MUST = Modal(
    english="must",
    english_past="had to",
    german=("muss", "müssen"),
    german_past="musste",
    french=("dois", "doit", "devons", "doivent"),
    french_past="dev",
)
WOULD_LIKE = Modal(  # never negated: "nicht gern" would need a place of its own
    english="would like to",
    german=("möchte", "möchten"),
    french=("voudrais", "voudrait", "voudrions", "voudraient"),
)
LIKE = Modal(  # never negated: "nicht gern" would need a place of its own
    english="like to",
    german_adverb="gern",
    french=("aime", "aime", "aimons", "aiment"),
)

FREQUENCIES = [
    Adverb(Said("often", "oft", "souvent")),
    Adverb(Said("always", "immer", "toujours")),
    Adverb(Said("sometimes", "manchmal", "parfois")),
    Adverb(Said("rarely", "selten", "rarement")),
    Adverb(Said("never", "nie", "jamais"), negative=True),
]
ALREADY = Adverb(Said("already", "schon", "déjà"), german_late=True)
NOT_YET = Adverb(Said("not yet", "noch nicht", "pas encore"), negative=True, german_late=True)
NEVER_YET = Adverb(Said("never", "noch nie", "jamais"), negative=True, german_late=True)

MANNERS = {
    "slowly": Said("slowly", "langsam", "lentement"),
    "quickly": Said("quickly", "schnell", "vite"),
    "loudly": Said("loudly", "laut", "fort"),
    "well": Said("well", "gut", "bien"),
}

VERY = Said("very", "sehr", "très")
TOO = Said("too", "zu", "trop")

ON = _place("on", "auf", "sur")
UNDER = _place("under", "unter", "sous")
BEHIND = _place("behind", "hinter", "derrière")
IN_FRONT_OF = _place("in front of", "vor", "devant")
NEXT_TO = _place("next to", "neben", "à côté de")
INSIDE = _place("in", "in", "dans")
ONTO = _place("on", "auf", "sur", "accusative")
INTO = _place("into", "in", "dans", "accusative")

WHERE = Said("where", "wo", "où")
WHERE_TO = Said("where", "wohin", "où")
WHEN = Said("when", "wann", "quand")
WHY = Said("why", "warum", "pourquoi")

BECAUSE = Conjunction(Said("because", "weil", "parce que"), german_verb_last=True)
THAT = Conjunction(Said("that", "dass", "que"), german_verb_last=True)
WHILE = Conjunction(Said("while", "während", "pendant que"), german_verb_last=True)
WHENEVER = Conjunction(Said("when", "wenn", "quand"), german_verb_last=True)
WHEN_ONCE = Conjunction(Said("when", "als", "quand"), german_verb_last=True)
BUT = Conjunction(Said("but", "aber", "mais"), german_verb_last=False, comma=True)
