"""Random sentences of two clauses and a conjunction."""

from __future__ import annotations

from dataclasses import replace

from data.grammar.meaning import (
    Both,
    Clause,
    Joined,
    Phrase,
    Predicate,
    Pronoun,
    Sentence,
    Tense,
    Thing,
    Verb,
)
from data.grammar.nouns import NOUNS, of_kinds
from data.grammar.phrases import PREDICATES, Author, can_be_negated, known, tenses_of
from data.grammar.simple import named, quality
from data.grammar.verbs import SPECIAL
from data.grammar.words import (
    ADJECTIVES,
    BECAUSE,
    BUT,
    THAT,
    VERY,
    WANT,
    WHEN_ONCE,
    WHENEVER,
    WHILE,
)

_BE = SPECIAL["be"]
_SUN = Thing(NOUNS["sun"])


def _same(subject: Phrase) -> Phrase | None:
    """The pronoun for a subject named before; none if the languages differ in its gender."""
    if isinstance(subject, Pronoun):
        return subject
    if isinstance(subject, Both):
        return Pronoun("which one", of=subject)
    if subject.noun.german_gender == "n" and not subject.plural:
        return None
    return Pronoun("which one", of=replace(subject, relative=None))


def _about(author: Author, tense: Tense, verbs: list[Verb]) -> tuple[Clause, Phrase]:
    """A clause about a subject that a pronoun can take up, and the pronoun."""
    while True:
        clause = author.clause(tense, verbs, detail=0.4)
        pronoun = _same(clause.subject)
        if pronoun:
            return clause, pronoun


# Because, that, while, when, but


def _be(subject: Phrase, adjective: str, tense: Tense, very: bool = False) -> Clause:
    predicate = Predicate(ADJECTIVES[adjective], VERY if very else None)
    return Clause(subject, _BE, predicate=predicate, tense=tense)


def _weather(name: str, tense: Tense) -> Clause:
    verb = SPECIAL[name]
    if "state" not in verb.traits and tense is Tense.PAST:
        tense = Tense.BACKGROUND
    return Clause(Pronoun("it"), verb, tense=tense)


# How somebody is, or the weather | what one does then | what one does not do
_MOODS = """
tired     | sleep stay_home go_home    | work dance play_football sing
sick      | stay_home go_home sleep    | work eat sing play_football swim
happy     | laugh sing dance           | cry
sad       | cry go_home stay_home      | laugh sing dance
be_hungry | eat cook buy               | sleep
be_thirsty | drink                     | sleep
rain      | stay_home go_home take     | play go_for_a_walk play_football work
snow      | stay_home play laugh       | swim work
be_cold   | stay_home go_home          | swim play go_for_a_walk dance
be_hot    | swim drink sleep           | work play_football run
shine     | play go_for_a_walk swim sing        | sleep stay_home
"""
_MOOD_ROWS = [[cell.split() for cell in row.split("|")] for row in _MOODS.strip().split("\n")]
_WEATHER = {"rain", "snow", "be_cold", "be_hot", "shine"}


def _mood(name: str, subject: Phrase, tense: Tense) -> Clause:
    if name == "shine":
        return replace(_weather(name, tense), subject=_SUN)
    if name in _WEATHER:
        return _weather(name, tense)
    if name in ADJECTIVES:
        return _be(subject, name, tense)
    return Clause(subject, named(name)[0], tense=tense)


def because_of_mood(author: Author) -> Sentence:
    """ "The woman is staying at home because she is sick." """
    [name], done, not_done = author.choose(_MOOD_ROWS)
    negated = author.chance(0.35)
    verbs = named(" ".join(not_done if negated else done))
    clause, pronoun = _about(author, author.choose([Tense.NOW, Tense.PAST]), verbs)
    negated = negated and can_be_negated(clause)
    if negated != (clause.verb in named(" ".join(not_done))):
        return because_of_mood(author)
    reason = _mood(name, pronoun, clause.tense)
    return Joined(replace(clause, negated=negated), BECAUSE, reason)


# What is done, because the thing is so; "-" for what is not done.
_QUALITIES = """
repair broken | wash dirty | clean dirty | read interesting | read famous | buy beautiful
buy fresh | eat fresh | visit famous | visit beautiful
choose beautiful | choose interesting | look_at beautiful | take fast
-read boring | -buy expensive | -understand difficult | -carry heavy | -take full | -take slow
-drink cold | -eat cold | -visit boring | -visit closed | -open broken | -pay_for expensive
"""


def because_of_thing(author: Author) -> Sentence:
    """ "The man is repairing the car because it is broken." """
    pairs = [pair.split() for row in _QUALITIES.strip().split("\n") for pair in row.split("|")]
    deed, adjective = author.choose(pairs)
    negated = deed.startswith("-")
    verb = author.choose(named(deed.removeprefix("-")))
    nouns = [noun for noun in verb.objects if ADJECTIVES[adjective] in PREDICATES[noun.name]]
    nouns = [noun for noun in nouns if not noun.kinds & {"person", "animal"}]
    tense = author.choose([Tense.NOW, Tense.PAST])
    if not nouns or tense not in tenses_of(verb):
        return because_of_thing(author)
    clause = author.clause(tense, [verb], detail=0)
    noun = author.pick(nouns)
    thing = replace(author.thing(noun, indefinite=0), adjective=None)
    if noun.mass:
        thing = replace(thing, determiner="the")
    clause = replace(clause, object=thing, negated=negated)
    if not can_be_negated(clause):
        return because_of_thing(author)
    very = "absolute" not in ADJECTIVES[adjective].kinds and author.chance(0.3)
    reason = _be(Pronoun("which one", of=thing), adjective, tense, very)
    return Joined(clause, BECAUSE, reason)


def lost(author: Author) -> Sentence:
    """ "The woman is looking for her key because she lost it." """
    clause, pronoun = _about(author, Tense.NOW, named("look_for"))
    verb = named("lose")[0]
    owned = Thing(author.pick(verb.objects), "own")
    lost = Clause(pronoun, verb, Pronoun("which one", of=owned), tense=Tense.PAST)
    return Joined(replace(clause, object=owned), BECAUSE, lost)


def opinion(author: Author) -> Sentence:
    """ "The teacher thinks that the film is boring." """
    verb = SPECIAL[author.choose(["say", "think", "believe", "hope", "know_that"])]
    subject = author.subject(of_kinds("person"), pronouns=0.35)
    pronoun = _same(subject)
    again = pronoun if not isinstance(subject, Pronoun) and author.chance(0.35) else None
    if verb.name == "hope":
        inner = author.clause(Tense.FUTURE, subject=again, detail=0.4)
    elif again is None and author.chance(0.45):
        inner = quality(author, Tense.NOW)
    else:
        inner = author.clause(author.choose([Tense.NOW, Tense.PAST]), subject=again, detail=0.4)
    return Joined(Clause(subject, verb), THAT, inner)


_LASTING = named(
    "sleep work read write eat play sing dance wait swim cook paint clean drink laugh cry wash "
    "repair draw carry feed look_for go_for_a_walk play_football learn"
)


def _busy(author: Author, tense: Tense) -> Clause:
    return author.clause(tense, _LASTING, detail=0.3)


def meanwhile(author: Author) -> Sentence:
    """ "The man is cooking while the woman is reading." """
    first, second = _busy(author, Tense.NOW), _busy(author, Tense.NOW)
    if first.subject == second.subject or first.verb.name == second.verb.name:
        return meanwhile(author)
    return Joined(first, WHILE, second, second_first=author.chance(0.3))


_SUDDENLY = named("arrive come_back wake_up open call see find meet go_home")


def interrupted(author: Author) -> Sentence:
    """ "When the doctor arrived, the woman was writing a letter." """
    then = author.clause(Tense.PAST, _SUDDENLY, detail=0.3)
    main = _busy(author, Tense.NOW)
    main = replace(main, tense=Tense.BACKGROUND)
    if author.chance(0.15):
        main = _weather(author.choose(["rain", "snow", "be_cold"]), Tense.PAST)
    if main.subject == then.subject:
        return interrupted(author)
    once = replace(then, tense=Tense.ONCE)
    return Joined(main, WHEN_ONCE, once, second_first=author.chance(0.6))


def whenever(author: Author) -> Sentence:
    """ "When it rains, the children play in the house"; "when he is tired, the man …"."""
    [name], done, _ = author.choose(_MOOD_ROWS)
    verbs = [verb for verb in named(" ".join(done)) if Tense.HABIT in tenses_of(verb)]
    if not verbs:
        return whenever(author)
    clause, pronoun = _about(author, Tense.HABIT, verbs)
    if name in _WEATHER:
        first = author.chance(0.6)
        return Joined(clause, WHENEVER, _mood(name, pronoun, Tense.HABIT), second_first=first)
    who = known(clause.subject)
    mood = _mood(name, who, Tense.NOW)
    return Joined(replace(clause, subject=_same(who) or who), WHENEVER, mood, second_first=True)


def contrast(author: Author) -> Sentence:
    """ "The man is working, but the woman is sleeping"; "wants to …, but is tired"."""
    if author.chance(0.45):
        tense = author.choose([Tense.NOW, Tense.PAST])
        first, second = _busy(author, tense), _busy(author, tense)
        if first.subject == second.subject or first.verb.name == second.verb.name:
            return contrast(author)
        return Joined(first, BUT, second)
    verbs = named("play_football dance work read swim go_for_a_walk go cook sing write")
    clause, pronoun = _about(author, Tense.FUTURE, verbs)
    past = author.chance(0.35)
    tense = Tense.PAST if past else Tense.NOW
    clause = replace(clause, modal=WANT, tense=tense)
    reasons = ["tired", "sick", "sad", "be_hungry", "be_thirsty", "rain", "snow", "be_cold"]
    return Joined(clause, BUT, _mood(author.choose(reasons), pronoun, tense))
