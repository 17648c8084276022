"""Say a meaning in English."""

from __future__ import annotations

from typing import NamedTuple

from data.grammar.meaning import (
    Both,
    Clause,
    Command,
    Existence,
    Joined,
    Phrase,
    Pronoun,
    Question,
    Said,
    Sentence,
    Series,
    Statement,
    Tense,
    Thing,
    Where,
    is_asked,
)
from data.grammar.verbs import doubled

_OBJECT_FORMS = {"I": "me", "we": "us", "he": "him", "she": "her", "they": "them"}
_POSSESSIVES = {"I": "my", "we": "our", "he": "his", "she": "her", "they": "their", "it": "its"}
_BE = {"I": ("am", "was"), "we": ("are", "were"), "they": ("are", "were")}


def say(sentence: Sentence) -> str:
    """The English sentence."""
    match sentence:
        case Statement(clause):
            return _written(_clause(clause), ".")
        case Question():
            return _written(_question(sentence), "?")
        case Command(clause, polite):
            words = [*(["do", "not"] if clause.negated else []), clause.verb.english.base]
            words = [*(["please"] if polite else []), *words, *_complements(clause)]
            return _written(words, "." if polite else "!")
        case Existence(thing, where, past):
            there = {(False, False): "is", (True, False): "are", (False, True): "was"}
            be = there.get((thing.plural, past), "were")
            return _written(["there", be, *_phrase(thing), *_where(where)], ".")
        case Series(first, second):
            return _written([*_clause(first), "and", *_continuation(second)], ".")
        case Joined(first, conjunction, second, second_first):
            link = conjunction.said.english
            if second_first:
                return _written([link, *_clause(second), ",", *_clause(first)], ".")
            comma = [","] if conjunction.comma else []
            return _written([*_clause(first), *comma, link, *_clause(second)], ".")


def _written(words: list[str], mark: str) -> str:
    line = " ".join(words).replace(" ,", ",")
    return line[0].upper() + line[1:] + mark


# Phrases


def pronoun_for(phrase: Phrase) -> str:
    """I, we, he, she, it or they: the pronoun that would stand for the phrase."""
    if isinstance(phrase, Both):
        return "they"
    if isinstance(phrase, Thing):
        if phrase.plural:
            return "they"
        if not phrase.noun.person:
            return "it"
        return "she" if phrase.noun.french_gender == "f" else "he"
    if phrase.of:
        return pronoun_for(phrase.of)
    return "he" if phrase.word == "who" else phrase.word


def _pronoun(pronoun: Pronoun, subject: bool) -> list[str]:
    if pronoun.word == "which":
        person = isinstance(pronoun.of, Thing) and pronoun.of.noun.person
        return [("who" if subject else "whom") if person else "that"]
    if pronoun.word in ("who", "what"):
        return [pronoun.word]
    word = pronoun_for(pronoun)
    return [word if subject else _OBJECT_FORMS.get(word, word)]


def _phrase(phrase: Phrase, owner: Phrase | None = None, subject: bool = False) -> list[str]:
    if isinstance(phrase, Pronoun):
        return _pronoun(phrase, subject)
    if isinstance(phrase, Both):
        return [*_phrase(phrase.first, owner), "and", *_phrase(phrase.second, owner)]
    noun = phrase.noun
    words = [phrase.adjective.name] if phrase.adjective else []
    words.append(noun.english_plural if phrase.plural else noun.name)
    relative = _clause(phrase.relative) if phrase.relative else []
    return [*_determiner(phrase, words[0], owner), *words, *relative]


def _determiner(thing: Thing, next_word: str, owner: Phrase | None) -> list[str]:
    match thing.determiner:
        case "none" | "kind":
            return []
        case "a" if thing.plural or thing.noun.mass:
            return []
        case "a":
            return ["an" if next_word[0] in "aeiou" else "a"]
        case "this":
            return ["these" if thing.plural else "this"]
        case "own":
            assert owner is not None, "only a subject can own something"
            return [_POSSESSIVES[pronoun_for(owner)]]
        case word:
            return [word]


def _where(where: Where, owner: Phrase | None = None) -> list[str]:
    phrase = where.phrase
    at_school = (
        where.preposition.english in ("at", "to", "from")
        and isinstance(phrase, Thing)
        and phrase.noun.name == "school"
        and phrase.determiner == "the"
        and not phrase.adjective
    )
    return [where.preposition.english, *(["school"] if at_school else _phrase(phrase, owner))]


# Verbs


class Finite(NamedTuple):
    """The verb group, in the two parts between which "not" and "often" stand."""

    auxiliary: list[str]
    rest: list[str]


def _third(base: str) -> str:
    if base == "have":
        return "has"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "x", "ch", "sh", "o")) else "s")


def _ing(base: str) -> str:
    stem = base[:-1] if base.endswith("e") and base not in ("be", "see") else doubled(base)
    return stem + "ing"


def _is_simple(clause: Clause) -> bool:
    return bool(clause.verb.traits & {"simple", "state"})


def _verb_group(clause: Clause, split: bool) -> Finite:
    """`split`: negation or a question asks for an auxiliary, "do" if there is no other."""
    verb, tense = clause.verb.english, clause.tense
    who = pronoun_for(clause.subject)
    third = who in ("he", "she", "it")
    be_now, be_then = _BE.get(who, ("is", "was"))
    past = tense in (Tense.PAST, Tense.BACKGROUND, Tense.ONCE)
    if clause.modal:
        first, *rest = (clause.modal.english_past if past else clause.modal.english).split()
        if first in ("can", "could", "must", "would"):
            return Finite([first], [*rest, verb.base])
        finite, base, rest = first, clause.modal.english.split()[0], [*rest, verb.base]
        if not past and third:
            finite = _third(base)
    elif tense is Tense.FUTURE:
        return Finite(["will"], [verb.base])
    elif tense is Tense.PERFECT:
        return Finite(["has" if third else "have"], [verb.participle])
    elif verb.base == "be":
        return Finite([be_then if past else be_now], [])
    elif tense in (Tense.NOW, Tense.BACKGROUND) and not _is_simple(clause):
        return Finite([be_then if past else be_now], [_ing(verb.base)])
    else:
        base, rest = verb.base, []
        finite = verb.past if past else _third(base) if third else base
    if split:
        return Finite(["did" if past else "does" if third else "do"], [base, *rest])
    return Finite([], [finite, *rest])


def _adverbs(clause: Clause) -> list[str]:
    return [clause.adverb.said.english] if clause.adverb else []


def _complements(clause: Clause) -> list[str]:
    """All that follows the verb."""
    verb, owner = clause.verb, clause.subject
    words = [verb.english.tail] if verb.english.tail else []
    wanted = clause.object if not is_asked(clause.object) else None
    item = _phrase(wanted, owner) if wanted else []
    if verb.english.preposition and clause.object:
        item = [verb.english.preposition, *item]
    if clause.recipient:
        person = _phrase(clause.recipient, owner)
        after = isinstance(wanted, Pronoun) or "to" in verb.traits
        item = [*item, "to", *person] if after else [*person, *item]
    words += item
    if clause.predicate:
        words += _predicate(clause)
    if isinstance(clause.where, Said):
        words.append(clause.where.english)
    elif clause.where:
        words += _where(clause.where, owner)
    if clause.time and not clause.time_first:
        words.append(clause.time.said.english)
    if clause.then:
        inner = clause.then.clause
        words += ["to", inner.verb.english.base, *_complements(inner)]
    return words


def _predicate(clause: Clause) -> list[str]:
    predicate = clause.predicate
    assert predicate is not None, "there is no predicate to say"
    if predicate.than:
        other = _phrase(predicate.than, clause.subject)
        return [predicate.adjective.english_comparative, "than", *other]
    degree = [predicate.degree.english] if predicate.degree else []
    return [*degree, predicate.adjective.name]


# Clauses


def _clause(clause: Clause) -> list[str]:
    group = _verb_group(clause, split=clause.negated)
    negation = ["not"] if clause.negated else []
    first = [clause.time.said.english, ","] if clause.time and clause.time_first else []
    if clause.object and is_asked(clause.object):
        first += _phrase(clause.object, clause.subject)
    words = [*first, *_phrase(clause.subject, subject=True), *group.auxiliary, *negation]
    words += [*_adverbs(clause), *group.rest, *_complements(clause)]
    return " ".join(words).replace("can not", "cannot").split(" ")


def _question(question: Question) -> list[str]:
    clause = question.clause
    if isinstance(clause.subject, Pronoun) and clause.subject.word == "who":
        return _clause(clause)
    group = _verb_group(clause, split=True)
    first = [question.asks.english] if question.asks else []
    if clause.object and is_asked(clause.object):
        first += _phrase(clause.object, clause.subject)
    words = [*first, *group.auxiliary, *_phrase(clause.subject, subject=True)]
    return [*words, *_adverbs(clause), *group.rest, *_complements(clause)]


def _continuation(clause: Clause) -> list[str]:
    """A clause without its subject and without the auxiliary that it shares with the one before."""
    group = _verb_group(clause, split=False)
    rest = group.rest if group.auxiliary else [group.rest[-1]]
    return [*rest, *_complements(clause)]
