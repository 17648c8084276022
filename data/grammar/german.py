"""Say a meaning in German.

A clause is cut into fields: forefield, finite verb, middle field, closing bracket (prefix,
participle or infinitive). The kinds of clauses differ in their order only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from data.grammar.german_forms import (
    COLUMN,
    CONTRACTIONS,
    DEFINITE,
    EIN,
    INDEFINITE,
    MIXED,
    NUMBERS,
    PRESENT,
    RELATIVE,
    SPEAKERS,
    STRONG,
    THIRD_PERSON,
    WEAK,
    Rows,
)
from data.grammar.meaning import (
    Both,
    Case,
    Clause,
    Command,
    Existence,
    Joined,
    Phrase,
    Predicate,
    Preposition,
    Pronoun,
    Question,
    Said,
    Sentence,
    Series,
    Statement,
    Tense,
    Thing,
    Verb,
    Where,
    is_asked,
)
from data.grammar.verbs import german_stem


def say(sentence: Sentence) -> str:
    """The German sentence."""
    match sentence:
        case Statement(clause):
            return _written(_statement(clause), ".")
        case Question(clause, asks):
            return _written(_question(clause, asks), "?")
        case Command(clause, polite):
            return _written(_command(clause, polite), "." if polite else "!")
        case Existence(thing, where, past):
            verb = ["gab" if past else "gibt", "es"]
            return _written([*_where(where), *verb, *_phrase(thing, "accusative")], ".")
        case Series(first, second):
            return _written([*_statement(first), "und", *_continuation(first, second)], ".")
        case Joined(first, conjunction, second, second_first):
            link = conjunction.said.german
            if not conjunction.german_verb_last:
                return _written([*_statement(first), ",", link, *_statement(second)], ".")
            last = [link, *_verb_last(second)]
            if second_first:
                return _written([*last, ",", *_verb_first(first)], ".")
            return _written([*_statement(first), ",", *last], ".")


def _written(words: list[str], mark: str) -> str:
    line = re.sub(r" ,( ,)*", ",", " ".join([*words, mark]))
    line = re.sub(r"[ ,]+([.!?])$", r"\1", line)
    return line[0].upper() + line[1:]


# Phrases


class _Features(NamedTuple):
    first_person: bool
    plural: bool
    gender: int  # column in the tables above


def _features(phrase: Phrase) -> _Features:
    if isinstance(phrase, Both):
        return _Features(False, True, 0)
    if isinstance(phrase, Thing):
        return _Features(False, phrase.plural, COLUMN[phrase.noun.german_gender])
    if phrase.of:
        return _features(phrase.of)
    gender = {"she": 1, "it": 2, "what": 2}.get(phrase.word, 0)
    return _Features(phrase.word in ("I", "we"), phrase.word in ("we", "they"), gender)


def _form(rows: Rows, case: Case, features: _Features) -> str:
    return rows[case][3 if features.plural else features.gender]


def _possessive(owner: Phrase) -> str:
    features = _features(owner)
    if features.first_person:
        return "unser" if features.plural else "mein"
    return "ihr" if features.plural or features.gender == 1 else "sein"


def _phrase(
    phrase: Phrase, case: Case, owner: Phrase | None = None, negated: bool = False
) -> list[str]:
    """`negated` makes "kein" of "ein"."""
    if isinstance(phrase, Both):
        return [*_phrase(phrase.first, case, owner), "und", *_phrase(phrase.second, case, owner)]
    features = _features(phrase)
    if isinstance(phrase, Pronoun):
        if phrase.word in SPEAKERS:
            return [SPEAKERS[phrase.word][case]]
        return [_form(RELATIVE if phrase.word == "which" else THIRD_PERSON, case, features)]
    determiner, endings = _determiner(phrase, case, owner, negated)
    words = [*determiner]
    if phrase.adjective:
        words.append(phrase.adjective.german_stem + _form(endings, case, features))
    words.append(_noun(phrase, case))
    if phrase.relative:
        words += [",", *_verb_last(phrase.relative), ","]
    return words


def _noun(thing: Thing, case: Case) -> str:
    noun = thing.noun
    if thing.plural:
        add_n = case == "dative" and not noun.german_plural.endswith(("n", "s"))
        return noun.german_plural + ("n" if add_n else "")
    return noun.german_plural if noun.german_weak and case != "nominative" else noun.german


def _determiner(
    thing: Thing, case: Case, owner: Phrase | None, negated: bool
) -> tuple[list[str], Rows]:
    """The determiner, and the endings of an adjective after it."""
    features = _features(thing)
    stems = {"this": "dies", "which": "welch", "many": "viel", "some": "einig"}
    match thing.determiner:
        case "the":
            return [_form(DEFINITE, case, features)], WEAK
        case "this" | "which" as word:
            return [stems[word] + _form(STRONG, case, features)], WEAK
        case "many" | "some" as word:
            return [stems[word] + _form(STRONG, case, features)], STRONG
        case "how many":
            return ["wie", "viel" + _form(STRONG, case, features)], STRONG
        case "my" | "our" | "own" as word:
            stem = {"my": "mein", "our": "unser"}.get(word) or _possessive(_known(owner))
            return [stem + _form(EIN, case, features)], MIXED
        case "a" | "kind" | "none" if negated:
            return ["kein" + _form(EIN, case, features)], MIXED
        case "a" if not thing.plural and not thing.noun.mass:
            return ["ein" + _form(EIN, case, features)], MIXED
        case "a" | "none" | "kind":
            return [], STRONG
        case number:
            return [NUMBERS[number]], STRONG


def _known(owner: Phrase | None) -> Phrase:
    assert owner is not None, "only a subject can own something"
    return owner


def _where(where: Where, owner: Phrase | None = None) -> list[str]:
    preposition: Preposition = where.preposition
    words = _phrase(where.phrase, preposition.case, owner)
    contracted = CONTRACTIONS.get(f"{preposition.german} {words[0]}")
    return [contracted, *words[1:]] if contracted else [preposition.german, *words]


# Verbs


class _Group(NamedTuple):
    finite: str
    prefix: str
    closing: list[str]


def _present(infinitive: str, third: str, features: _Features) -> str:
    ich, er, wir = PRESENT.get(infinitive, (german_stem(infinitive) + "e", third, infinitive))
    return wir if features.plural else ich if features.first_person else er


def _past(preterite: str, features: _Features) -> str:
    if not features.plural:
        return preterite
    return preterite + ("n" if preterite.endswith("e") else "en")


def _group(clause: Clause) -> _Group:
    verb, features, tense = clause.verb.german, _features(clause.subject), clause.tense
    state = "state" in clause.verb.traits
    simple_past = tense in (Tense.BACKGROUND, Tense.ONCE) or (tense is Tense.PAST and state)
    infinitive = verb.prefix + verb.infinitive
    if clause.modal and not clause.modal.german_adverb:
        past = tense is Tense.PAST
        finite = clause.modal.german[features.plural]
        return _Group(
            _past(clause.modal.german_past, features) if past else finite, "", [infinitive]
        )
    if tense is Tense.FUTURE:
        return _Group(_present("werden", "", features), "", [infinitive])
    if simple_past:
        return _Group(_past(verb.preterite, features), verb.prefix, [])
    if tense in (Tense.PAST, Tense.PERFECT):
        participle = verb.prefix + verb.participle
        return _Group(_present(verb.auxiliary, "", features), "", [participle])
    return _Group(_present(verb.infinitive, verb.third, features), verb.prefix, [])


# The middle field


def _is_new(phrase: Phrase | None) -> bool:
    """Whether a thing is mentioned for the first time; what is known stands further to the left."""
    return isinstance(phrase, Thing) and phrase.determiner in INDEFINITE


def _is_early_place(clause: Clause, item: Phrase | None) -> bool:
    """Whether the place precedes the object: "im Garten einen Apfel", but "den Apfel im Garten"."""
    rests = isinstance(clause.where, Where) and clause.where.preposition.case == "dative"
    return rests and _is_new(item)


def _takes_kein(item: Phrase | None) -> bool:
    """Whether the negation is "kein Buch", "keine Hunde", "kein Englisch"."""
    if not isinstance(item, Thing):
        return False
    return item.determiner in ("a", "kind") or "language" in item.noun.kinds


def _place(clause: Clause) -> list[str]:
    if isinstance(clause.where, Said):
        return [clause.where.german]
    return _where(clause.where, clause.subject) if clause.where else []


def _middle(clause: Clause, early: str = "") -> list[str]:
    """Pronouns, the person, the time, the thing, "nicht", the place, the rest.

    `early` follows the pronouns: "bitte".
    """
    verb, owner = clause.verb.german, clause.subject
    wanted = None if is_asked(clause.object) else clause.object
    bare = wanted if not verb.preposition else None
    short = [p for p in (bare, clause.recipient) if isinstance(p, Pronoun)]
    words = [_phrase(p, verb.case if p is bare else "dative")[0] for p in short]
    words += [early] if early else []
    if clause.recipient and clause.recipient not in short:
        words += _phrase(clause.recipient, "dative", owner)
    if clause.time and not clause.time_first:
        words.append(clause.time.said.german)
    kein = clause.negated and (_takes_kein(bare) or bool(verb.negated_tail))
    item = _phrase(bare, verb.case, owner, kein) if bare and bare not in short else []
    if _is_early_place(clause, bare):
        item = [*_place(clause), *item]
    adverb = [clause.adverb.said.german] if clause.adverb else []
    if clause.modal and clause.modal.german_adverb:
        adverb.append(clause.modal.german_adverb)
    late = clause.adverb is not None and clause.adverb.german_late and not _is_new(bare)
    words += [*item, *adverb] if late else [*adverb, *item]
    if clause.negated and not kein:
        words.append("nicht")
    return words + _end_of_middle(clause, wanted, kein)


def _end_of_middle(clause: Clause, wanted: Phrase | None, negated: bool) -> list[str]:
    """The place, an object with a preposition, the predicate."""
    verb, owner = clause.verb.german, clause.subject
    words: list[str] = []
    if not _is_early_place(clause, None if verb.preposition else wanted):
        words += _place(clause)
    tail = [verb.negated_tail if negated and verb.negated_tail else verb.tail] if verb.tail else []
    if verb.preposition and wanted:
        item = _phrase(wanted, verb.case, owner)
        words += [*tail, verb.preposition, *item]
    else:
        words += tail
    return words + (_predicate(clause.predicate, owner) if clause.predicate else [])


def _predicate(predicate: Predicate, owner: Phrase) -> list[str]:
    if predicate.than:
        other = _phrase(predicate.than, "nominative", owner)
        return [predicate.adjective.german_comparative, "als", *other]
    degree = [predicate.degree.german] if predicate.degree else []
    return [*degree, predicate.adjective.german]


# Clauses


def _asked(clause: Clause) -> list[str]:
    if clause.object and is_asked(clause.object):
        return _phrase(clause.object, clause.verb.german.case, clause.subject)
    return []


def _then(clause: Clause) -> list[str]:
    if not clause.then:
        return []
    inner = clause.then.clause
    verb = inner.verb.german
    zu = [f"{verb.prefix}zu{verb.infinitive}"] if verb.prefix else ["zu", verb.infinitive]
    words = [*(["um"] if clause.then.purpose else []), *_middle(inner)]
    return [*([","] if words else []), *words, *zu]


def _closing(group: _Group) -> list[str]:
    return [*([group.prefix] if group.prefix else []), *group.closing]


def _verb_first(clause: Clause) -> list[str]:
    group = _group(clause)
    subject = _phrase(clause.subject, "nominative")
    return [group.finite, *subject, *_middle(clause), *_closing(group), *_then(clause)]


def _statement(clause: Clause) -> list[str]:
    if clause.time and clause.time_first:
        return [clause.time.said.german, *_verb_first(clause)]
    group = _group(clause)
    subject = _phrase(clause.subject, "nominative")
    return [*subject, group.finite, *_middle(clause), *_closing(group), *_then(clause)]


def _verb_last(clause: Clause) -> list[str]:
    group = _group(clause)
    words = [*_asked(clause), *_phrase(clause.subject, "nominative"), *_middle(clause)]
    return [*words, *group.closing, group.prefix + group.finite, *_then(clause)]


def _question(clause: Clause, asks: Said | None) -> list[str]:
    if isinstance(clause.subject, Pronoun) and clause.subject.word == "who":
        return _statement(clause)
    first = [asks.german] if asks else []
    return [*first, *_asked(clause), *_verb_first(clause)]


def _command(clause: Clause, polite: bool) -> list[str]:
    verb = clause.verb.german
    prefix = [verb.prefix] if verb.prefix else []
    if polite:
        return [verb.infinitive, "Sie", *_middle(clause, early="bitte"), *prefix]
    return [_imperative(clause.verb), *_middle(clause), *prefix]


def _imperative(verb: Verb) -> str:
    infinitive, third = verb.german.infinitive, verb.german.third
    first_vowels = [re.findall("[aeiouäöü]", word)[:1] for word in (infinitive, third)]
    if first_vowels == [["e"], ["i"]]:
        return third[:-1]
    stem = german_stem(infinitive)
    return stem + ("e" if stem.endswith(("t", "d", "ffn", "chn", "er", "är", "dank")) else "")


def _continuation(before: Clause, clause: Clause) -> list[str]:
    """A clause without its subject, and without the auxiliary that it shares."""
    group = _group(clause)
    shared = bool(group.closing) and group.finite == _group(before).finite
    finite = [] if shared else [group.finite]
    return [*finite, *_middle(clause), *_closing(group)]
