"""What a sample sentence means, before any language says it.

A meaning is a small tree: a sentence holds clauses, a clause holds a verb and phrases, a phrase
holds a noun. The words in it carry their forms in all three languages; `english.py`, `german.py`
and `french.py` each turn the same tree into a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Gender = Literal["m", "f", "n"]
Case = Literal["nominative", "accusative", "dative"]


class Tense(Enum):
    """Each value is the English form; the comment gives the German and the French one."""

    NOW = "is eating"  # isst, mange
    HABIT = "eats"  # isst, mange: needs a word such as "every day", or a verb of state
    PAST = "ate"  # hat gegessen, a mangé; verbs of state: hatte, avait
    PERFECT = "has eaten"  # the same, so it needs "already", "not yet" or "never"
    FUTURE = "will eat"  # wird essen, mangera
    BACKGROUND = "was eating"  # aß, mangeait
    ONCE = "ate, after when"  # aß, a mangé


@dataclass(frozen=True)
class Said:
    """A word or phrase that never changes, in three languages."""

    english: str
    german: str
    french: str


@dataclass(frozen=True)
class Noun:
    """A noun; its name is the English singular. `kinds` says what can be done with the thing."""

    name: str
    english_plural: str
    german: str
    german_plural: str
    german_gender: Gender
    german_weak: bool  # "den Jungen": all forms but the nominative singular equal the plural
    french: str
    french_plural: str
    french_gender: Gender
    kinds: frozenset[str]

    @property
    def mass(self) -> bool:
        """Whether it is a substance, which has no plural."""
        return "mass" in self.kinds

    @property
    def person(self) -> bool:
        """Whether it is a human being."""
        return "person" in self.kinds


@dataclass(frozen=True)
class Adjective:
    """An adjective; `kinds` says what it can be said of."""

    name: str
    english_comparative: str
    german: str
    german_stem: str  # what endings are added to: "teur" of "teuer"
    german_comparative: str
    french: str
    french_feminine: str
    french_before_vowel: str  # "bel" of "beau", otherwise the same as `french`
    french_precedes: bool
    kinds: frozenset[str]


@dataclass(frozen=True)
class Preposition:
    """A preposition, with the case that German wants after it."""

    english: str
    german: str
    case: Case
    french: str


@dataclass(frozen=True)
class EnglishVerb:
    """The English forms of a verb."""

    base: str
    past: str
    participle: str
    tail: str  # "up" of "get up"
    preposition: str  # before the object: "for" of "wait for"


@dataclass(frozen=True)
class GermanVerb:
    """The German forms of a verb."""

    infinitive: str  # without the separable prefix
    third: str
    preterite: str
    participle: str  # without the separable prefix
    auxiliary: Literal["haben", "sein"]
    prefix: str  # separable: "an" of "ankommen"
    tail: str  # at the end of the middle field: "Hunger" of "Hunger haben"
    negated_tail: str  # "keinen Hunger"; empty if "nicht" does it
    preposition: str
    case: Case  # of the object


@dataclass(frozen=True)
class FrenchVerb:
    """The French forms of a verb."""

    infinitive: str
    present: tuple[str, str, str, str]  # je, il, nous, ils
    participle: str
    future: str  # stem
    auxiliary: Literal["avoir", "être"]
    reflexive: bool
    tail: str
    preposition: str


@dataclass(frozen=True)
class Verb:
    """A verb, with who does it, to what and where; `verbs.txt` explains the traits."""

    name: str
    english: EnglishVerb
    german: GermanVerb
    french: FrenchVerb
    subjects: tuple[Noun, ...]
    objects: tuple[Noun, ...]
    places: tuple[Noun, ...]
    traits: frozenset[str]


@dataclass(frozen=True)
class Modal:
    """A modal verb. Where German has an adverb instead ("gern"), its verb forms are missing."""

    english: str
    french: tuple[str, str, str, str]  # je, il, nous, ils
    german: tuple[str, str] = ("", "")  # ich/er, wir/sie
    german_adverb: str = ""
    english_past: str = ""
    german_past: str = ""
    french_past: str = ""  # stem of the imparfait


@dataclass(frozen=True)
class Time:
    """A time, and the tenses it goes with."""

    said: Said
    tenses: frozenset[Tense]


@dataclass(frozen=True)
class Adverb:
    """An adverb beside the finite verb: "often", "already", "never"."""

    said: Said
    negative: bool = False  # French then says "ne", and "de" before an indefinite object
    german_late: bool = False  # stands after "das Buch", but before "ein Buch"


# Phrases


@dataclass(frozen=True)
class Thing:
    """A noun with what stands around it.

    `determiner` is one of: the, a (a bare plural or mass noun as well), this, my, our, own (the
    subject's), which, how many, many, some, a number from two to ten, none (names), kind (of
    all of the kind: "likes dogs", "aime les chiens"). A relative clause holds `Pronoun("which")`
    where the noun belongs.
    """

    noun: Noun
    determiner: str = "the"
    plural: bool = False
    adjective: Adjective | None = None
    relative: Clause | None = None


@dataclass(frozen=True)
class Both:
    """Two that are named together: "the man and his dog"."""

    first: Thing
    second: Thing


@dataclass(frozen=True)
class Pronoun:
    """I, we, he, she, they; it (the weather); who and what (questions); which (relative).

    With `of`, the pronoun stands for that phrase, named earlier in the sentence, and each language
    takes the gender of its own noun.
    """

    word: str
    of: Thing | Both | None = None


Phrase = Thing | Pronoun | Both


# Clauses


@dataclass(frozen=True)
class Predicate:
    """The adjective after "to be", perhaps with a degree, or compared with something."""

    adjective: Adjective
    degree: Said | None = None
    than: Thing | None = None


@dataclass(frozen=True)
class Where:
    """A preposition and a phrase: place, direction, company."""

    preposition: Preposition
    phrase: Phrase


@dataclass(frozen=True)
class Clause:
    """A subject, a verb, and what goes with it."""

    subject: Phrase
    verb: Verb
    object: Phrase | None = None
    recipient: Phrase | None = None
    predicate: Predicate | None = None
    where: Where | Said | None = None
    time: Time | None = None
    time_first: bool = False
    adverb: Adverb | None = None
    tense: Tense = Tense.NOW
    modal: Modal | None = None
    negated: bool = False
    then: Infinitive | None = None

    @property
    def key(self) -> str:
        """What is combined in this clause: who, does what, with what."""
        there = self.where.phrase if isinstance(self.where, Where) else None
        quality = self.predicate.adjective.name if self.predicate else ""
        return "/".join(
            [name_of(self.subject), self.verb.name, name_of(self.object or there), quality]
        )


@dataclass(frozen=True)
class Infinitive:
    """A clause without a finite verb: "to read a book", "um ein Buch zu lesen"."""

    clause: Clause
    purpose: bool  # "um … zu", "pour"; otherwise "zu", "de"


def name_of(phrase: Phrase | None) -> str:
    """The noun of a phrase, in English."""
    if isinstance(phrase, Thing):
        return phrase.noun.name
    if isinstance(phrase, Both):
        return f"{phrase.first.noun.name}+{phrase.second.noun.name}"
    if isinstance(phrase, Pronoun):
        return name_of(phrase.of) or phrase.word
    return ""


def is_asked(phrase: Phrase | None) -> bool:
    """Whether a phrase moves to the front of its clause: questions and relative pronouns."""
    if isinstance(phrase, Thing):
        return phrase.determiner in ("which", "how many")
    return isinstance(phrase, Pronoun) and phrase.word in ("what", "which")


# Sentences


@dataclass(frozen=True)
class Statement:
    """One clause as it is."""

    clause: Clause


@dataclass(frozen=True)
class Question:
    """`asks` is the adverb asked for; a yes-or-no question or one with "who", "what" has none."""

    clause: Clause
    asks: Said | None = None


@dataclass(frozen=True)
class Command:
    """The subject is ignored. Polite: "please", "Sie", "vous"."""

    clause: Clause
    polite: bool


@dataclass(frozen=True)
class Conjunction:
    """What joins two clauses."""

    said: Said
    german_verb_last: bool
    comma: bool = False  # English and French put a comma before it (German always does)


@dataclass(frozen=True)
class Joined:
    """Two clauses and a conjunction; `second_first` puts the subordinate clause in front."""

    first: Clause
    conjunction: Conjunction
    second: Clause
    second_first: bool = False


@dataclass(frozen=True)
class Series:
    """Two things that one subject does: "buys an apple and eats it"."""

    first: Clause
    second: Clause


@dataclass(frozen=True)
class Existence:
    """There is a thing in a place."""

    thing: Thing
    where: Where
    past: bool = False


Sentence = Statement | Question | Command | Joined | Series | Existence


def clauses_of(sentence: Sentence) -> list[Clause]:
    """All clauses of a sentence, those inside others included."""
    if isinstance(sentence, Existence):
        return []
    if isinstance(sentence, Joined | Series):
        found = [sentence.first, sentence.second]
    else:
        found = [sentence.clause]
    for clause in list(found):
        if clause.then:
            found.append(clause.then.clause)
        for phrase in (clause.subject, clause.object):
            if isinstance(phrase, Thing) and phrase.relative:
                found.append(phrase.relative)
    return found


def combinations(sentence: Sentence) -> list[str]:
    """The combinations of words that a sentence makes, one for each clause."""
    if isinstance(sentence, Existence):
        return [f"{name_of(sentence.thing)}/exist/{name_of(sentence.where.phrase)}/"]
    return [clause.key for clause in clauses_of(sentence)]
