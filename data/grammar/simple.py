"""Random sentences with one clause: statements, questions, commands."""

from __future__ import annotations

from dataclasses import replace

from data.grammar.meaning import (
    Clause,
    Command,
    Existence,
    Noun,
    Predicate,
    Preposition,
    Pronoun,
    Question,
    Said,
    Sentence,
    Statement,
    Tense,
    Thing,
    Verb,
    Where,
)
from data.grammar.nouns import AT, NOUNS, of_kinds
from data.grammar.phrases import PREDICATES, Author, can_be_negated, known, nouns_of
from data.grammar.verbs import AGES, SPECIAL, VERBS
from data.grammar.words import (
    ADJECTIVES,
    ALREADY,
    BEHIND,
    IN_FRONT_OF,
    INSIDE,
    LIKE,
    NEVER_YET,
    NEXT_TO,
    NOT_YET,
    ON,
    TOO,
    UNDER,
    VERY,
    WHEN,
    WHERE,
    WHERE_TO,
    WHY,
)

_BE = SPECIAL["be"]

# What something may be too much.
_EXCESSIVE = {
    "big",
    "small",
    "expensive",
    "long",
    "slow",
    "cold",
    "warm",
    "heavy",
    "difficult",
    "boring",
    "dirty",
    "full",
}

_COMPARABLE = {
    "person",
    "animal",
    "vehicle",
    "clothes",
    "tableware",
    "furniture",
    "building",
    "readable",
    "text",
    "thought",
    "plant",
    "thing",
    "ground",
    "settlement",
    "fruit",
}

# place | what there is
_THERE_IS = {
    "garden": "tree flower dog cat bird rabbit table chair",
    "park": "tree bird bridge flower lake duck",
    "village": "church restaurant school bakery hotel castle farm",
    "city": "museum cinema theatre hospital hotel station market library",
    "kitchen": "table chair cupboard bottle plate knife",
    "room": "bed window lamp table chair picture",
    "street": "car tree bakery restaurant",
    "library": "book newspaper computer",
    "museum": "picture lamp",
    "farm": "cow horse pig duck dog",
    "forest": "wolf bear bird owl tree lake",
    "school": "library computer garden",
    "station": "train restaurant tourist",
}

# What | where it may be
_LYING: list[tuple[str, Preposition, str]] = [
    ("thing flat tableware -suitcase -box", ON, "table chair cupboard"),
    ("thing flat clothes", UNDER, "table chair bed cupboard"),
    ("key ring watch pencil book letter phone knife", INSIDE, "bag suitcase box cupboard"),
    ("bag suitcase box umbrella shoe", NEXT_TO, "bed cupboard chair door table"),
    ("pet mouse", UNDER, "bed table chair tree"),
    ("pet farm_animal bird", BEHIND, "house tree church hotel"),
    ("horse dog cow cat", IN_FRONT_OF, "house church window castle"),
    ("car bus bicycle", IN_FRONT_OF, "house hotel school station museum hospital"),
    ("tree bicycle car", BEHIND, "house church castle hotel cinema"),
    ("bakery restaurant cinema theatre", NEXT_TO, "hotel station hospital museum school"),
]


def named(names: str) -> list[Verb]:
    """The verbs of these names."""
    return [verb for verb in VERBS if verb.name in names.split()]


def is_human(verb: Verb) -> bool:
    """Whether anybody can do it."""
    return any("name" in noun.kinds for noun in verb.subjects)


def with_object(names: str) -> list[Verb]:
    """The verbs of these names that have an object."""
    return [verb for verb in named(names) if verb.objects]


def _any_tense(author: Author) -> Tense:
    shares = {Tense.NOW: 4.0, Tense.PAST: 5.0, Tense.FUTURE: 2.5, Tense.HABIT: 2.0}
    return author.weighted(shares)


def dress(author: Author, clause: Clause, time: float = 0.4) -> Clause:
    """A clause with a time, a frequency or a negation, as its tense allows."""
    if clause.tense is Tense.HABIT:
        timed = "clock" in clause.verb.traits or author.chance(0.55)
        return author.timed(clause) if timed else author.often(clause)
    if clause.tense in (Tense.NOW, Tense.PAST) and can_be_negated(clause) and author.chance(0.18):
        return replace(clause, negated=True)
    share = {Tense.NOW: 0.3, Tense.FUTURE: 0.85}.get(clause.tense, time)
    return author.timed(clause) if author.chance(share) else clause


# Statements


def statement(author: Author) -> Sentence:
    """ "The man ate an apple yesterday." """
    return Statement(dress(author, author.clause(_any_tense(author))))


def with_modal(author: Author) -> Sentence:
    """ "The man wants to eat an apple." """

    def accept(verb: Verb) -> bool:
        return is_human(verb) and not verb.traits & {"mishap", "present", "unwilled"}

    clause = author.modal(author.clause(Tense.FUTURE, accept=accept))
    timed = clause.modal is not LIKE and not clause.negated
    return Statement(author.timed(clause) if timed and author.chance(0.3) else clause)


_UNHEARD_OF = named("see hear eat drink buy build wear paint")


def perfect(author: Author) -> Sentence:
    """ "Already", "not yet", "never"."""
    if author.chance(0.25):
        clause = author.clause(Tense.PERFECT, _UNHEARD_OF, detail=0)
        noun = clause.object.noun if isinstance(clause.object, Thing) else NOUNS["lion"]
        noun = author.pick(of_kinds("animal castle")) if noun.person else noun
        item = replace(author.thing(noun, 1, plural=False), determiner="a")
        who = _definite(author, clause)
        return Statement(replace(clause, subject=who, object=item, adverb=NEVER_YET, where=None))

    def accept(verb: Verb) -> bool:
        return "clock" in verb.traits or bool(verb.objects and "bare" not in verb.traits)

    clause = author.clause(Tense.PERFECT, accept=accept, detail=0.3)
    wanted = clause.object
    new = isinstance(wanted, Thing) and wanted.determiner not in ("the", "this", "my", "own", "our")
    only_already = new or isinstance(wanted, Pronoun) or not can_be_negated(clause)
    adverb = ALREADY if only_already else author.choose([ALREADY, NOT_YET])
    return Statement(replace(clause, adverb=adverb))


def _definite(author: Author, clause: Clause) -> Thing | Pronoun:
    if isinstance(clause.subject, Pronoun):
        return clause.subject
    return author.person(author.pick(of_kinds("person")), definite=True)


def quality(author: Author, tense: Tense | None = None) -> Clause:
    """Something is big, red, tired."""
    adjective = author.pick([a for a in ADJECTIVES.values() if "beside" not in a.kinds])
    return describe(author, author.pick(nouns_of(adjective)), tense)


def describe(author: Author, noun: Noun, tense: Tense | None = None) -> Clause:
    """What a thing is like."""
    thing = replace(author.anything(noun, indefinite=0), adjective=None)
    return describe_thing(author, thing, tense)


def describe_thing(author: Author, thing: Thing, tense: Tense | None = None) -> Clause:
    """What this thing is like."""
    adjective = author.pick(PREDICATES[thing.noun.name])
    alive = bool(thing.noun.kinds & {"person", "animal"})
    excess = 0.0 if alive or adjective.name not in _EXCESSIVE else 1.5
    degrees = {None: 6.0, VERY: 3.0, TOO: excess}
    degree = None if "absolute" in adjective.kinds else author.weighted(degrees)
    tense = tense or author.weighted({Tense.NOW: 3, Tense.PAST: 1})
    return Clause(thing, _BE, predicate=Predicate(adjective, degree), tense=tense)


def copula(author: Author) -> Sentence:
    """ "The car is not red." """
    clause = quality(author)
    if clause.predicate and not clause.predicate.degree and author.chance(0.25):
        clause = replace(clause, negated=True)
    return Statement(clause)


def _alike(noun: Noun, others: list[Noun]) -> list[Noun]:
    """What a thing can sensibly be compared with."""
    kinds = noun.kinds & _COMPARABLE
    return [other for other in others if other.kinds & kinds and other is not noun]


def comparison(author: Author) -> Sentence:
    """ "The car is faster than the bus." """
    adjective = author.pick([a for a in ADJECTIVES.values() if "more" in a.kinds])
    nouns = nouns_of(adjective)
    first = author.pick([noun for noun in nouns if _alike(noun, nouns)])
    second = author.pick(_alike(first, nouns))
    than = replace(author.anything(second, indefinite=0), adjective=None)
    who = replace(author.anything(first, indefinite=0), adjective=None)
    return Statement(Clause(who, _BE, predicate=Predicate(adjective, than=than)))


def lying(author: Author) -> Clause:
    """A thing or an animal is on, under, behind something."""
    what, preposition, there = author.choose(_LYING)
    noun = author.pick(of_kinds(what))
    other = author.pick([place for place in of_kinds(there) if place is not noun])
    thing = author.thing(noun, indefinite=0)
    if not noun.kinds & {"place", "plant", "farm_animal"} and author.chance(0.35):
        thing = replace(thing, determiner="my")
    where = Where(preposition, Thing(other, "the", adjective=author.adjective_for(other, 0.1)))
    tense = author.weighted({Tense.NOW: 4, Tense.PAST: 1})
    return Clause(thing, _BE, where=where, tense=tense)


def location(author: Author) -> Sentence:
    """ "The key is on the table." """
    clause = lying(author)
    return Statement(replace(clause, negated=author.chance(0.15)))


def existence(author: Author) -> Sentence:
    """ "There are two trees in the garden." """
    place = author.pick([NOUNS[name] for name in _THERE_IS])
    noun = author.pick(of_kinds(_THERE_IS[place.name]))
    where = Where(AT[place.name], Thing(place, adjective=author.adjective_for(place, 0.1)))
    thing = author.thing(noun, 1, plural=author.chance(0.5))
    return Existence(thing, where, past=author.chance(0.15))


def years_old(author: Author) -> Sentence:
    """ "My brother is ten years old." """
    noun = author.pick(of_kinds("kin name child boy girl princess dog cat horse"))
    ages = AGES[:7] if noun.kinds & {"young", "animal"} else AGES[7:9]
    ages = AGES[9:] if noun.name.startswith("grand") else ages
    who = replace(author.anything(noun, indefinite=0), adjective=None, plural=False)
    if noun.kinds & {"pet", "kin"}:
        who = replace(who, determiner=author.choose(["my", "our"]))
    tense = author.weighted({Tense.NOW: 4, Tense.PAST: 1})
    return Statement(Clause(who, author.pick(ages), tense=tense))


# Questions

_ASKED_WHAT = with_object(
    "buy eat drink read write see hear look_for find lose forget cook draw repair"
)


def _countable(verb: Verb) -> list[Noun]:
    return [noun for noun in verb.objects if not noun.kinds & {"person", "mass"}]


_ASKED_WHICH = [
    verb
    for verb in named("buy read sell find see write lose wash repair open choose learn clean")
    if _countable(verb)
]


def _ask(clause: Clause, asks: Said | None = None) -> Question:
    """One asks about others, and about somebody known."""
    subject = known(clause.subject)
    if isinstance(subject, Pronoun):
        subject = {"I": Pronoun("he"), "we": Pronoun("they")}.get(subject.word, subject)
    return Question(replace(clause, subject=subject), asks)


def yes_or_no(author: Author) -> Sentence:
    """ "Did the man eat the apple?" """
    if author.chance(0.25):
        return _ask(quality(author))
    clause = author.clause(author.weighted({Tense.NOW: 4, Tense.PAST: 4, Tense.FUTURE: 2}))
    timed = author.chance(0.5 if clause.tense is Tense.FUTURE else 0.15)
    return _ask(author.timed(clause, first=0) if timed else clause)


def who(author: Author) -> Sentence:
    """ "Who ate the apple?" """
    tense = author.weighted({Tense.NOW: 4, Tense.PAST: 5, Tense.FUTURE: 1})
    return Question(author.clause(tense, subject=Pronoun("who"), accept=is_human))


def what(author: Author) -> Sentence:
    """ "What did the man eat?" """
    tense = author.weighted({Tense.NOW: 4, Tense.PAST: 4, Tense.FUTURE: 2})
    clause = author.clause(tense, _ASKED_WHAT, detail=1.5)
    clause = replace(clause, object=Pronoun("what"))
    timed = author.chance(0.7 if tense is Tense.FUTURE else 0.2)
    return _ask(author.timed(clause, first=0) if timed else clause)


def which(author: Author) -> Sentence:
    """ "Which apple did the man eat?", "How many apples …?" """
    clause = author.clause(author.choose([Tense.NOW, Tense.PAST]), _ASKED_WHICH, detail=0)
    noun = author.pick(_countable(clause.verb))
    many = author.chance(0.45) and "single" not in noun.kinds
    if many:
        clause = replace(clause, tense=Tense.PAST)
    plural = many or author.chance(0.2)
    determiner = "how many" if many else "which"
    item = Thing(noun, determiner, plural, author.adjective_for(noun, 0.1))
    return _ask(replace(clause, object=item, where=None))


_SOMEWHERE = [
    verb
    for verb in named("work live play sleep wait sing dance swim buy see meet find lose")
    if verb.places
]
_AT_SOME_TIME = named("arrive leave get_up come_back have_breakfast go_home")
_FOR_SOME_REASON = named("cry laugh sell open close buy stay_home go_home look_for hide wait call")


def where(author: Author) -> Sentence:
    """ "Where is the key?", "Where did the man go?" """
    if author.chance(0.35):
        clause = lying(author)
        return _ask(replace(clause, where=None), WHERE)
    tense = author.weighted({Tense.NOW: 4, Tense.PAST: 4})
    if author.chance(0.25):
        clause = author.clause(tense, named("go")[:1])
        return _ask(replace(clause, where=None), WHERE_TO)
    clause = replace(author.clause(tense, _SOMEWHERE), where=None)
    return _ask(clause, WHERE)


def when(author: Author) -> Sentence:
    """ "When does the train arrive?" """
    tense = author.choose([Tense.HABIT, Tense.PAST, Tense.FUTURE])
    return _ask(author.clause(tense, _AT_SOME_TIME, detail=0.5), WHEN)


def why(author: Author) -> Sentence:
    """ "Why is the man laughing?" """
    tense = author.choose([Tense.NOW, Tense.PAST])
    return _ask(author.clause(tense, _FOR_SOME_REASON, detail=0.3), WHY)


# Commands


def command(author: Author) -> Sentence:
    """The subject is nobody in particular, so nothing in the clause may refer to it."""
    verb = author.pick([verb for verb in VERBS if "command" in verb.traits])
    clause = Clause(Pronoun("you"), verb, tense=Tense.PAST)
    if verb.objects:
        noun = author.pick(verb.objects)
        wanted = 0.3 if "uses_up" in verb.traits or "recipient" in verb.traits else 0.0
        clause = replace(clause, object=author.anything(noun, wanted))
    if "recipient" in verb.traits:
        clause = replace(clause, recipient=author.recipient(Pronoun("you")))
    if "put" in verb.traits or "stay" in verb.traits or verb.name in ("eat", "read", "sleep"):
        clause = author.placed(clause)
    negated = "mishap" in verb.traits or (
        can_be_negated(clause)
        and not clause.recipient
        and not verb.french.reflexive
        and author.chance(0.2)
    )
    return Command(replace(clause, negated=negated), polite=not negated and author.chance(0.4))
