"""Random sentences in which one subject does two things, or a clause stands inside another."""

from __future__ import annotations

from dataclasses import replace

from data.grammar.meaning import (
    Clause,
    Infinitive,
    Noun,
    Pronoun,
    Sentence,
    Series,
    Statement,
    Tense,
    Thing,
    Verb,
    Where,
    name_of,
)
from data.grammar.nouns import of_kinds
from data.grammar.phrases import PREDICATES, Author, tenses_of
from data.grammar.simple import describe_thing, named
from data.grammar.verbs import SPECIAL, VERBS
from data.grammar.words import (
    MUST,
    WANT,
)

# One subject, two deeds

# The thing of the first is the thing of the second.
_SERIES = """
buy eat | buy drink | buy read | buy sell | buy give | buy lend | buy send | buy hide
cook eat | wash eat | cut eat | choose buy | choose pay_for | choose bring
find open | find sell | find show | find bring | find close | open read | open close
write send | write read | write show | write forget | read explain
repair sell | wash sell | clean sell | wash repair | repair lend | lose find
call invite | meet invite | see call | see follow | wake help | meet thank | look_for find
catch feed | buy feed | see buy | paint sell | paint give | paint show | draw show
"""

# One after the other, each with a thing of its own.
_IN_ORDER = """
get_up have_breakfast | get_up open | get_up feed | wake_up drink | wake_up have_breakfast
go_home cook | go_home sleep | go_home read | go_home call | go_home feed | go_home eat
come_back sleep | come_back write | come_back cook | come_back drink | arrive call
have_breakfast read | have_breakfast work | have_breakfast write
"""


def _pairs(table: str) -> list[tuple[list[Verb], list[Verb]]]:
    rows = [pair.split() for row in table.strip().split("\n") for pair in row.split("|")]
    return [(named(first), named(second)) for first, second in rows]


def _can_be_it(noun: Noun, verb: Verb) -> bool:
    return noun in verb.objects and not (noun.person and noun.german_gender == "n")


_SHARED_THING = [
    [
        (first, second, nouns)
        for first in firsts
        for second in seconds
        if set(first.subjects) & set(second.subjects)
        and (nouns := [noun for noun in first.objects if _can_be_it(noun, second)])
    ]
    for firsts, seconds in _pairs(_SERIES)
]


def series(author: Author) -> Sentence:
    """ "The woman bought an apple and ate it." """
    first, second, nouns = author.choose(author.choose(_SHARED_THING))
    subject = author.subject([noun for noun in first.subjects if noun in second.subjects])
    may_follow = {Tense.PAST, Tense.FUTURE} <= tenses_of(first) & tenses_of(second)
    tense = Tense.FUTURE if may_follow and author.chance(0.25) else Tense.PAST
    item = author.object(replace(first, objects=tuple(nouns)), subject, tense)
    if not isinstance(item, Thing):
        return series(author)
    before = Clause(subject, first, item, tense=tense)
    after = Clause(subject, second, Pronoun("which one", of=item), tense=tense)
    if "recipient" in second.traits:
        after = replace(after, recipient=author.recipient(subject))
    if may_follow and tense is Tense.PAST and author.chance(0.3):
        modal = author.choose([WANT, MUST])
        before = replace(before, modal=modal, tense=Tense.NOW)
        after = replace(after, modal=modal, tense=Tense.NOW)
    return Series(before, after)


_ORDERED = _pairs(_IN_ORDER)


def in_order(author: Author) -> Sentence:
    """ "Every morning, the man gets up and has breakfast." """
    firsts, seconds = author.choose(_ORDERED)
    habit = all(Tense.HABIT in tenses_of(verb) for verb in firsts + seconds)
    tense = author.choose([Tense.PAST, Tense.FUTURE] + [Tense.HABIT] * habit)
    first, second = firsts[0], author.choose(seconds)
    subject = author.subject([noun for noun in first.subjects if noun in second.subjects])
    before = author.clause(tense, [first], subject, detail=0.3)
    after = author.clause(tense, [second], subject, detail=0.3)
    if tense is Tense.HABIT:
        before = replace(before, time=author.time(tense, second), time_first=True)
    return Series(before, after)


_ERRANDS = [
    verb
    for verb in VERBS
    if not verb.traits & {"go", "from", "stay", "mishap", "simple"}
    and verb.name not in ("laugh", "cry", "arrive", "wait")
]
_TRIED = named("open repair find catch understand read learn sleep cook sell draw build carry")
_BEGUN = named("work sing dance cook read write cry laugh paint learn clean play")
_FORGOTTEN = named("close buy call wash feed write answer thank clean bring")


def errand(author: Author) -> Sentence:
    """ "The man went to the market to buy bread." """
    tense = author.weighted({Tense.PAST: 4, Tense.FUTURE: 3, Tense.NOW: 3})
    while True:
        clause = author.clause(tense, named("go")[:1], detail=2)
        place = name_of(clause.where.phrase) if isinstance(clause.where, Where) else ""
        possible = [verb for verb in _ERRANDS if place in [noun.name for noun in verb.places]]
        possible = [verb for verb in possible if author.can(clause.subject, verb)]
        if possible:
            break
    inner = author.clause(Tense.FUTURE, possible, clause.subject, detail=0)
    clause = replace(clause, then=Infinitive(replace(inner, where=None), purpose=True))
    return Statement(author.timed(clause, first=1) if author.chance(0.25) else clause)


def attempt(author: Author) -> Sentence:
    """ "The boy tries to open the door"; begins to, forgot to."""
    name, verbs = author.choose([("try", _TRIED), ("begin", _BEGUN), ("forget", _FORGOTTEN)])
    inner = author.clause(Tense.FUTURE, verbs, detail=0)
    now = name != "forget" and author.chance(0.45)
    tense = Tense.NOW if now else Tense.PAST
    then = Infinitive(replace(inner, where=None), purpose=False)
    return Statement(Clause(inner.subject, SPECIAL[name], tense=tense, then=then))


# Relative clauses


def _which(thing: Thing) -> Pronoun:
    return Pronoun("which", of=replace(thing, relative=None))


def _with_doer(author: Author, thing: Thing) -> Thing:
    """ "The man who is reading a book." """
    tense = author.choose([Tense.NOW, Tense.PAST])
    relative = author.clause(tense, subject=_which(thing), detail=0.5)
    return replace(thing, relative=relative)


def doer(author: Author) -> Sentence:
    """ "The man who is reading is tired." """
    noun = author.pick(of_kinds("person animal -name -single"))
    thing = Thing(noun, author.weighted({"the": 6, "this": 0.5}), author.chance(0.2))
    described = describe_thing(author, thing, Tense.NOW)
    if noun.person and author.chance(0.3):
        described = author.clause(Tense.NOW, named("know like have"), thing)
    return Statement(replace(described, subject=_with_doer(author, thing)))


_MET = [
    verb
    for verb in named("know see look_for help hear")
    if any(noun.person for noun in verb.objects)
]


def acquaintance(author: Author) -> Sentence:
    """ "I know the woman who lives in Paris." """
    clause = author.clause(Tense.NOW, _MET, detail=0)
    nouns = [noun for noun in clause.verb.objects if noun.kinds & {"person", "animal"}]
    nouns = [noun for noun in nouns if not noun.kinds & {"name", "single"}]
    noun = author.pick([noun for noun in nouns if noun.name != name_of(clause.subject)])
    thing = Thing(noun, author.weighted({"the": 5, "a": 2}), author.chance(0.15))
    return Statement(replace(clause, object=_with_doer(author, thing)))


_DONE_TO = [
    verb
    for verb in VERBS
    if verb.objects
    and not verb.traits & {"state", "kind", "bare", "to", "put"}
    and not (verb.english.preposition or verb.german.preposition or verb.french.preposition)
]


def done_to(author: Author) -> Sentence:
    """ "The book that the girl is reading is interesting." """
    tense = author.weighted({Tense.NOW: 4, Tense.PAST: 5})
    relative = author.clause(tense, _DONE_TO, detail=0)
    dative = relative.verb.german.case == "dative"
    nouns = [
        noun
        for noun in relative.verb.objects
        if PREDICATES[noun.name] and (dative or not noun.kinds & {"person", "animal"})
        if not noun.kinds & {"name", "single"} and noun.name != name_of(relative.subject)
    ]
    if not nouns:
        return done_to(author)
    noun = author.pick(nouns)
    thing = Thing(noun, "the", not noun.mass and author.chance(0.25))
    relative = replace(relative, object=_which(thing), where=None)
    described = describe_thing(author, thing, Tense.NOW)
    return Statement(replace(described, subject=replace(thing, relative=relative)))
