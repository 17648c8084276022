"""Random phrases and clauses that make sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from data.grammar.meaning import (
    Adjective,
    Both,
    Clause,
    Noun,
    Phrase,
    Pronoun,
    Tense,
    Thing,
    Time,
    Verb,
    Where,
    name_of,
)
from data.grammar.nouns import AT, FROM, NOUNS, TO, of_kinds
from data.grammar.verbs import VERBS
from data.grammar.words import (
    ADJECTIVES,
    CAN,
    CLOCK,
    FREQUENCIES,
    INTO,
    LIKE,
    MANNERS,
    MUST,
    ONTO,
    TIMES,
    WANT,
    WOULD_LIKE,
)

Item = TypeVar("Item")
Named = TypeVar("Named", Noun, Verb, Adjective)

_COUNTS = {"two", "three", "four", "five", "ten", "some", "many"}
_MARKS = {"beside", "predicate", "more", "absolute"}


def nouns_of(adjective: Adjective) -> list[Noun]:
    """What an adjective can be said of."""
    return of_kinds(" ".join(sorted(adjective.kinds - _MARKS)))


BESIDE: dict[str, list[Adjective]] = {name: [] for name in NOUNS}
PREDICATES: dict[str, list[Adjective]] = {name: [] for name in NOUNS}
for _adjective in ADJECTIVES.values():
    for _noun in nouns_of(_adjective):
        if "predicate" not in _adjective.kinds:
            BESIDE[_noun.name].append(_adjective)
        if "beside" not in _adjective.kinds:
            PREDICATES[_noun.name].append(_adjective)


def tenses_of(verb: Verb) -> set[Tense]:
    """The tenses in which a verb makes sense."""
    traits = verb.traits
    if "present" in traits:
        return {Tense.NOW}
    if "mishap" in traits:
        return {Tense.PAST, Tense.PERFECT}
    if "state" in traits:
        return {Tense.NOW, Tense.PAST}
    found = {Tense.PAST, Tense.PERFECT}
    if "unplanned" not in traits:
        found.add(Tense.FUTURE)
    if "event" not in traits:
        found.add(Tense.NOW)
    if traits & {"habit", "clock"}:
        found.add(Tense.HABIT)
    return found


class Author:
    """Makes up phrases and clauses. Of two words that would do, the one used less is taken."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._uses: Counter[str] = Counter()

    # Choices

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def choose(self, items: Sequence[Item]) -> Item:
        """One of them, all equally probable."""
        return items[int(self._random.random() * len(items))]

    def weighted(self, weights: dict[Item, float]) -> Item:
        """One of the keys, as probable as its weight says."""
        mark = self._random.random() * sum(weights.values())
        for item, weight in weights.items():
            mark -= weight
            if mark < 0:
                return item
        return item

    def pick(self, words: Sequence[Named]) -> Named:
        """One of the words, rather one that was used less."""
        word = min(self.choose(words), self.choose(words), key=lambda word: self._uses[word.name])
        self._uses[word.name] += 1
        return word

    # Phrases

    def adjective_for(self, noun: Noun, probability: float) -> Adjective | None:
        """An adjective to stand beside the noun, or none."""
        fitting = BESIDE[noun.name]
        return self.pick(fitting) if fitting and self.chance(probability) else None

    def person(self, noun: Noun, definite: bool = False) -> Thing:
        """Somebody, as a subject or an object; `definite` somebody known."""
        if "name" in noun.kinds:
            return Thing(noun, "none")
        if "single" in noun.kinds:
            kin = "kin" in noun.kinds
            return Thing(noun, self.weighted({"my": 6, "our": 3, "the": 2}) if kin else "the")
        plural = self.chance(0.25)
        weights: dict[str, float] = {"the": 10, "this": 1.5}
        if "kin" in noun.kinds:
            weights = {"the": 2, "my": 6, "our": 3}
        elif "job" in noun.kinds:
            weights["our"] = 1
        if not definite and "family" not in noun.kinds:
            weights |= {"two": 1, "three": 0.6, "some": 0.7, "many": 0.7} if plural else {"a": 2.5}
        return Thing(noun, self.weighted(weights), plural, self.adjective_for(noun, 0.15))

    def thing(self, noun: Noun, indefinite: float = 0.4, plural: bool | None = None) -> Thing:
        """A thing or an animal; `indefinite` is the probability of "a", "three", "some"."""
        adjective = self.adjective_for(noun, 0.22)
        if "single" in noun.kinds:
            return Thing(noun, "the", adjective=adjective)
        if noun.mass:
            determiner = "a" if indefinite and self.chance(max(indefinite, 0.5)) else "the"
            return Thing(noun, determiner, adjective=adjective)
        plural = self.chance(0.25) if plural is None else plural
        weights = {"the": 8.0, "this": 1.5}
        if self.chance(indefinite):
            weights = {"a": 1}
            if plural:
                weights = {"a": 4, "two": 1, "three": 1, "four": 0.6, "five": 0.6, "ten": 0.5}
                weights |= {"some": 1.3, "many": 1.3}
        return Thing(noun, self.weighted(weights), plural, adjective)

    def anything(self, noun: Noun, indefinite: float = 0.4) -> Thing:
        """A person or a thing, whatever the noun is."""
        if noun.person:
            return self.person(noun, definite=indefinite == 0)
        if noun.kinds & {"town", "language"}:
            return Thing(noun, "none")
        return self.thing(noun, indefinite)

    def subject(self, nouns: Sequence[Noun], pronouns: float = 0.22) -> Phrase:
        """Who does it; `pronouns` is the probability of "I", "she" and so on."""
        people = any("name" in noun.kinds for noun in nouns)
        if people and self.chance(pronouns):
            return Pronoun(self.weighted({"I": 5, "we": 3, "he": 4, "she": 4, "they": 3}))
        first = self.pick(nouns)
        if people and self.chance(0.07):
            second = self.pick(nouns)
            if second is not first:
                return Both(self._short(first), self._short(second))
        return self.anything(first, indefinite=0.25)

    def _short(self, noun: Noun) -> Thing:
        if "name" in noun.kinds:
            return Thing(noun, "none")
        return Thing(noun, "my" if "kin" in noun.kinds and self.chance(0.6) else "the")

    def place(self, noun: Noun, prepositions: str = "at") -> Where:
        """A place with the preposition that says "at", "to" or "from"."""
        table = {"at": AT, "to": TO, "from": FROM}[prepositions]
        if "town" in noun.kinds:
            return Where(table[noun.name], Thing(noun, "none"))
        thing = Thing(noun, "the", adjective=self.adjective_for(noun, 0.12))
        return Where(table[noun.name], thing)

    # Times

    def time(self, tense: Tense, verb: Verb) -> Time:
        """A time that goes with the tense."""
        clock = [time for time in CLOCK if tense in time.tenses]
        if "clock" in verb.traits and clock and self.chance(0.5):
            return self.choose(clock)
        fitting = [time for time in TIMES if tense in time.tenses]
        if "state" in verb.traits:
            fitting = [time for time in fitting if time.said.english.startswith("last")]
        if "clock" in verb.traits:  # nobody gets up "in winter"
            fitting = [time for time in fitting if not time.said.english.startswith("in ")]
        if "morning" in verb.traits:
            fitting = [time for time in fitting if "evening" not in time.said.english]
        return self.choose(fitting)

    # Clauses

    def clause(
        self,
        tense: Tense,
        verbs: Sequence[Verb] = VERBS,
        subject: Phrase | None = None,
        accept: Callable[[Verb], bool] | None = None,
        detail: float = 1.0,
    ) -> Clause:
        """Who does what to what, and where; no time, no negation.

        `detail` is the probability of things that may be left out, relative to the usual.
        """
        able = [verb for verb in verbs if tense in tenses_of(verb)]
        if accept is not None:
            able = [verb for verb in able if accept(verb)]
        if subject is not None:
            able = [verb for verb in able if self.can(subject, verb)]
        verb = self.pick(able)
        who = subject or self.subject(verb.subjects)
        if verb.name == "belong":
            who = known(who)
        clause = Clause(who, verb, tense=tense)
        if verb.objects:
            clause = replace(clause, object=self.object(verb, who, tense))
        if "recipient" in verb.traits:
            clause = replace(clause, recipient=self.recipient(who))
        return self.placed(clause, detail)

    def can(self, subject: Phrase, verb: Verb) -> bool:
        """Whether the subject is one that does such things."""
        if isinstance(subject, Pronoun):
            anybody = any("name" in noun.kinds for noun in verb.subjects)
            return self.can(subject.of, verb) if subject.of else anybody
        if isinstance(subject, Both):
            return self.can(subject.first, verb) and self.can(subject.second, verb)
        return subject.noun in verb.subjects

    def placed(self, clause: Clause, detail: float = 1.0) -> Clause:
        """The clause with a place, a direction or a manner, if it suits the verb."""
        verb = clause.verb
        if "put" in verb.traits:
            return replace(clause, where=self._put_where(clause))
        manners = [MANNERS[name] for name in MANNERS if name in verb.traits]
        now = clause.tense in (Tense.NOW, Tense.HABIT)
        if manners and (now or not verb.places) and self.chance(0.4 if verb.places else 1):
            return replace(clause, where=self.choose(manners))
        probability = 0.2 if verb.objects else 0.6
        if verb.traits & {"go", "from"}:
            probability = 0.75
        if "stay" in verb.traits or (verb.places and self.chance(probability * detail)):
            prepositions = (
                "to" if "go" in verb.traits else "from" if "from" in verb.traits else "at"
            )
            return replace(clause, where=self.place(self.pick(verb.places), prepositions))
        return clause

    def _put_where(self, clause: Clause) -> Where:
        upright = isinstance(clause.object, Thing) and "upright" in clause.object.noun.kinds
        if upright or self.chance(0.5):
            return Where(ONTO, Thing(self.pick(of_kinds("table chair cupboard"))))
        return Where(INTO, Thing(self.pick(of_kinds("bag suitcase box cupboard"))))

    def object(self, verb: Verb, subject: Phrase, tense: Tense) -> Phrase:
        """Something that the subject can do it to."""
        noun = self.pick(
            [noun for noun in verb.objects if noun.name not in name_of(subject).split("+")]
        )
        traits = verb.traits
        if noun.person and self.chance(0.2):
            pronoun = self._object_pronoun(verb, subject, tense)
            if pronoun:
                return pronoun
        if "bare" in traits:
            return Thing(noun, "none")
        if "own" in traits and self._may_own(subject, noun) and self.chance(0.35):
            plural = "single" not in noun.kinds and self.chance(0.15)
            return Thing(noun, "own", plural, self.adjective_for(noun, 0.15))
        if "kind" in traits and not noun.person and "single" not in noun.kinds:
            if noun.mass or self.chance(0.6):
                return Thing(noun, "kind", not noun.mass)
            return self.thing(noun, indefinite=0, plural=False)
        if "indefinite" in traits and not noun.mass:
            return self.thing(noun, 1, plural=False if "one" in traits else None)
        if noun.person:
            return self.person(noun)
        if tense is Tense.HABIT:
            return self.thing(noun, indefinite=1 if "uses_up" in traits else 0)
        return self.anything(noun, 0 if verb.name in ("belong", "take") else 0.4)

    @staticmethod
    def _may_own(subject: Phrase, noun: Noun) -> bool:
        """German "sein" and English "its" would part ways for "das Kind" and "das Mädchen"."""
        if isinstance(subject, Pronoun) and subject.word == "who":
            return False
        owner = subject.of if isinstance(subject, Pronoun) else subject
        if isinstance(owner, Thing):
            neuter = owner.noun.german_gender == "n" and not owner.plural
            if neuter or not owner.noun.person:
                return False
        return "name" not in noun.kinds and not (noun.person and "kin" not in noun.kinds)

    def _object_pronoun(self, verb: Verb, subject: Phrase, tense: Tense) -> Pronoun | None:
        """Only pronouns that mean the same in all three languages; "l'" may be him or her."""
        speaker = isinstance(subject, Pronoun) and subject.word in ("I", "we")
        words = [] if speaker else ["I", "we"]
        elided = verb.french.infinitive[0] in "aeioué" and tense is not Tense.PAST
        only_people = all(noun.person for noun in verb.objects)
        if verb.name == "think_of" or not only_people:
            return None
        if not elided and verb.french.preposition != "à":
            words += ["he", "she"]
        return Pronoun(self.choose(words)) if words else None

    def recipient(self, subject: Phrase) -> Phrase:
        """Somebody to give it to."""
        speaker = isinstance(subject, Pronoun) and subject.word in ("I", "we")
        if self.chance(0.35):
            return Pronoun(self.choose(["they"] if speaker else ["I", "I", "we", "they"]))
        people = of_kinds("kin job name student child boy girl princess")
        noun = self.pick([noun for noun in people if noun.name not in name_of(subject).split("+")])
        return self.person(noun, definite=True)

    # Variations of a clause

    def timed(self, clause: Clause, first: float = 0.35) -> Clause:
        """The clause with a time; `first` is the probability that the time comes first."""
        tense = Tense.FUTURE if clause.modal and clause.tense is Tense.NOW else clause.tense
        if clause.verb.traits & {"state", "present"} and tense is Tense.NOW:
            return clause
        time = self.time(tense, clause.verb)
        return replace(clause, time=time, time_first=self.chance(first))

    def often(self, clause: Clause) -> Clause:
        """The clause with "often", "never" and the like."""
        fitting = [
            adverb for adverb in FREQUENCIES if not adverb.negative or can_be_negated(clause)
        ]
        return replace(clause, adverb=self.choose(fitting))

    def modal(self, clause: Clause) -> Clause:
        """Somebody wants to, can, must do it."""
        verb = clause.verb
        modals = [WANT, MUST, WOULD_LIKE]
        if "ability" not in verb.traits:
            modals.append(CAN)
        if "habit" in verb.traits and "clock" not in verb.traits and _is_pastime(clause.object):
            modals += [LIKE, LIKE]
        modal = self.choose(modals)
        past = modal in (WANT, MUST) and self.chance(0.25)
        negatable = modal in (WANT, CAN) and can_be_negated(clause)
        return replace(
            clause,
            modal=modal,
            tense=Tense.PAST if past else Tense.NOW,
            negated=negatable and self.chance(0.25),
        )


def _is_pastime(item: Phrase | None) -> bool:
    """Whether one can like to do it: "likes to buy books", but not "this book"."""
    if not isinstance(item, Thing):
        return item is None
    several = item.plural or item.noun.mass
    return item.determiner == "kind" or (item.determiner == "a" and several)


def known(phrase: Phrase) -> Phrase:
    """The same, but somebody known: "the man" instead of "a man"."""
    if isinstance(phrase, Thing) and phrase.determiner in {"a", *_COUNTS}:
        return replace(phrase, determiner="the")
    return phrase


def can_be_negated(clause: Clause) -> bool:
    """Whether "not" is enough: "three apples are not", "some men do not" mean other things."""
    item, who = clause.object, clause.subject
    countable = isinstance(item, Thing) and item.determiner in _COUNTS
    anybody = isinstance(item, Thing) and item.noun.person and item.determiner == "a"
    vague = isinstance(who, Thing) and who.determiner in {"a", *_COUNTS}
    return not (countable or anybody or vague)
