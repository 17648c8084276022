"""Say a meaning in French.

Elision ("l'eau", "j'ai", "qu'elle") is done last, on the finished line; contraction ("au", "du")
is done where the preposition meets the article.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from data.grammar.french_forms import (
    AVOIR,
    CLITIC_ORDER,
    FUTURE,
    IMPARFAIT,
    NUMBERS,
    ÊTRE,
    elided,
    imparfait,
    starts_with_vowel,
    with_preposition,
)
from data.grammar.meaning import (
    Both,
    Clause,
    Command,
    Existence,
    Joined,
    Phrase,
    Predicate,
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


def say(sentence: Sentence) -> str:
    """The French sentence."""
    match sentence:
        case Statement(clause):
            return _written(_clause(clause), ".")
        case Question(clause, asks):
            return _written(_question(clause, asks), " ?")
        case Command(clause, polite):
            please = [",", "s'il", "vous", "plaît"] if polite else []
            return _written([*_command(clause, polite), *please], "." if polite else " !")
        case Existence(thing, where, past):
            there = ["il", "y", "avait" if past else "a"]
            return _written([*there, *_phrase(thing), *_where(where)], ".")
        case Series(first, second):
            return _written([*_clause(first), "et", *_continuation(second)], ".")
        case Joined(first, conjunction, second, second_first):
            link = conjunction.said.french
            if second_first:
                return _written([link, *_clause(second), ",", *_clause(first)], ".")
            comma = [","] if conjunction.comma else []
            return _written([*_clause(first), *comma, link, *_clause(second)], ".")


def _written(words: list[str], mark: str) -> str:
    line = " ".join(words).replace(" ,", ",")
    line = elided(line)
    return line[0].upper() + line[1:] + mark


# Phrases


class _Features(NamedTuple):
    first_person: bool
    plural: bool
    feminine: bool

    @property
    def person(self) -> int:
        """The place in a table of je, il, nous, ils."""
        return 2 * self.plural + (not self.first_person)


def _features(phrase: Phrase) -> _Features:
    if isinstance(phrase, Both):
        both = _features(phrase.first).feminine and _features(phrase.second).feminine
        return _Features(False, True, both)
    if isinstance(phrase, Thing):
        return _Features(False, phrase.plural, phrase.noun.french_gender == "f")
    if phrase.of:
        return _features(phrase.of)
    return _Features(
        phrase.word in ("I", "we"), phrase.word in ("we", "they"), phrase.word == "she"
    )


def _agree(masculine: str, feminine: str, features: _Features) -> str:
    word = feminine if features.feminine else masculine
    if not features.plural or word.endswith(("s", "x")):
        return word
    return word + ("x" if word.endswith("eau") else "s")


def _subject_pronoun(pronoun: Pronoun) -> str:
    if pronoun.word in ("I", "we"):
        return "je" if pronoun.word == "I" else "nous"
    if pronoun.word in ("who", "which"):
        return "qui"
    features = _features(pronoun)
    return ("elle" if features.feminine else "il") + ("s" if features.plural else "")


def _strong_pronoun(pronoun: Pronoun) -> str:
    features = _features(pronoun)
    if features.first_person:
        return "nous" if features.plural else "moi"
    if features.plural:
        return "elles" if features.feminine else "eux"
    return "elle" if features.feminine else "lui"


def _clitic(pronoun: Pronoun, dative: bool) -> str:
    features = _features(pronoun)
    if features.first_person:
        return "nous" if features.plural else "me"
    if dative:
        return "leur" if features.plural else "lui"
    return "les" if features.plural else "la" if features.feminine else "le"


def _phrase(
    phrase: Phrase, preposition: str = "", owner: Phrase | None = None, negated: bool = False
) -> list[str]:
    """`negated` makes "de" of an indefinite article."""
    if isinstance(phrase, Pronoun):
        asked = {"what": "quoi", "which": "que"}
        word = asked.get(phrase.word) or _strong_pronoun(phrase)
        return [*([preposition] if preposition else []), word]
    if isinstance(phrase, Both):
        first = _phrase(phrase.first, preposition, owner)
        return [*first, "et", *_phrase(phrase.second, preposition, owner)]
    words = _noun_and_adjective(phrase)
    article = _determiner(phrase, words[0], owner, negated)
    relative = _relative(phrase.relative) if phrase.relative else []
    return [*with_preposition(preposition, article, words[0]), *words, *relative]


def _noun_and_adjective(thing: Thing) -> list[str]:
    features = _features(thing)
    noun = thing.noun.french_plural if thing.plural else thing.noun.french
    adjective = thing.adjective
    if not adjective:
        return [noun]
    precedes = adjective.french_precedes
    special = precedes and starts_with_vowel(noun) and not thing.plural
    masculine = adjective.french_before_vowel if special else adjective.french
    quality = _agree(masculine, adjective.french_feminine, features)
    return [quality, noun] if precedes else [noun, quality]


def _determiner(thing: Thing, next_word: str, owner: Phrase | None, negated: bool) -> list[str]:
    features, vowel = _features(thing), starts_with_vowel(next_word)
    match thing.determiner:
        case "none":
            return []
        case "the" | "kind":
            return ["les" if features.plural else "la" if features.feminine else "le"]
        case "a":
            return _indefinite(thing, negated)
        case "this":
            masculine = "cet" if vowel else "ce"
            return ["ces" if features.plural else "cette" if features.feminine else masculine]
        case "my" | "our" | "own" as word:
            speaker = {"my": Pronoun("I"), "our": Pronoun("we")}.get(word) or owner
            assert speaker is not None, "only a subject can own something"
            return [_possessive(features, vowel, _features(speaker))]
        case "which":
            return [_agree("quel", "quelle", features)]
        case "many":
            return ["beaucoup", "de"]
        case "how many":
            return ["combien", "de"]
        case "some":
            return ["quelques"]
        case number:
            return [NUMBERS[number]]


def _indefinite(thing: Thing, negated: bool) -> list[str]:
    features = _features(thing)
    adjective_first = thing.adjective is not None and thing.adjective.french_precedes
    if negated or (thing.plural and adjective_first):
        return ["de"]
    if thing.plural:
        return ["des"]
    if not thing.noun.mass:
        return ["une" if features.feminine else "un"]
    words = _noun_and_adjective(thing)
    if features.feminine or starts_with_vowel(words[0]):
        return ["de", "la"]
    return ["du"]


def _possessive(thing: _Features, vowel: bool, owner: _Features) -> str:
    if owner.plural:
        one, several = ("notre", "nos") if owner.first_person else ("leur", "leurs")
        return several if thing.plural else one
    letter = "m" if owner.first_person else "s"
    if thing.plural:
        return letter + "es"
    return letter + ("a" if thing.feminine and not vowel else "on")


def _where(where: Where, owner: Phrase | None = None) -> list[str]:
    return _phrase(where.phrase, where.preposition.french, owner)


# Verbs


class _Group(NamedTuple):
    """Pronouns stand before the infinitive if there is one, otherwise before the finite verb."""

    finite: str
    participle: str = ""
    infinitive: str = ""


def _group(clause: Clause) -> _Group:
    verb, person = clause.verb.french, _features(clause.subject).person
    tense, past = clause.tense, clause.tense is Tense.PAST
    state = "state" in clause.verb.traits
    if clause.modal:
        present = clause.modal.french[person]
        finite = clause.modal.french_past + IMPARFAIT[person] if past else present
        return _Group(finite, infinitive=verb.infinitive)
    if tense is Tense.FUTURE:
        return _Group(verb.future + FUTURE[person])
    if tense is Tense.BACKGROUND or (past and state):
        return _Group(imparfait(verb.present[2], person))
    if tense in (Tense.PAST, Tense.PERFECT, Tense.ONCE):
        auxiliary = (ÊTRE if verb.auxiliary == "être" else AVOIR)[person]
        return _Group(auxiliary, participle=_participle(clause))
    return _Group(verb.present[person])


def _participle(clause: Clause) -> str:
    """It agrees with the subject after être, with an object that precedes it after avoir."""
    verb, item = clause.verb.french, clause.object
    word = verb.participle
    if verb.auxiliary == "être":
        return _agree(word, word + "e", _features(clause.subject))
    precedes = item is not None and (isinstance(item, Pronoun) or is_asked(item))
    if item is None or not precedes or verb.preposition:
        return word
    return _agree(word, word + "e", _features(item))


def _is_clitic(clause: Clause) -> bool:
    """Whether the object is a pronoun that stands before the verb."""
    plain = clause.verb.french.preposition in ("", "à")
    return isinstance(clause.object, Pronoun) and plain and not is_asked(clause.object)


def _clitics(clause: Clause) -> list[str]:
    verb, found = clause.verb.french, []
    if verb.reflexive:
        features = _features(clause.subject)
        reflexive = "nous" if features.plural else "me"
        found.append(reflexive if features.first_person else "se")
    if _is_clitic(clause) and isinstance(clause.object, Pronoun):
        found.append(_clitic(clause.object, dative=verb.preposition == "à"))
    if isinstance(clause.recipient, Pronoun):
        found.append(_clitic(clause.recipient, dative=True))
    return sorted(found, key=CLITIC_ORDER.index)


def _verb(clause: Clause) -> list[str]:
    group, clitics = _group(clause), _clitics(clause)
    adverb = clause.adverb.said.french if clause.adverb else ""
    negative = clause.negated or (clause.adverb is not None and clause.adverb.negative)
    words = ["ne"] if negative else []
    words += [group.finite] if group.infinitive else [*clitics, group.finite]
    words += ["pas"] if clause.negated else []
    words += [adverb] if adverb else []
    words += [*clitics, group.infinitive] if group.infinitive else []
    return words + ([group.participle] if group.participle else [])


def _complements(clause: Clause) -> list[str]:
    """All that follows the verb."""
    verb, owner, item = clause.verb.french, clause.subject, clause.object
    negative = clause.negated or (clause.adverb is not None and clause.adverb.negative)
    words = [verb.tail] if verb.tail else []
    if item and not _is_clitic(clause) and not is_asked(item):
        words += _phrase(item, verb.preposition, owner, negative and not verb.preposition)
    if clause.recipient and not isinstance(clause.recipient, Pronoun):
        words += _phrase(clause.recipient, "à", owner)
    if clause.predicate:
        words += _predicate(clause.predicate, clause.subject)
    if isinstance(clause.where, Said):
        words.append(clause.where.french)
    elif clause.where:
        words += _where(clause.where, owner)
    if clause.time and not clause.time_first:
        words.append(clause.time.said.french)
    if clause.then:
        inner = clause.then.clause
        link = "pour" if clause.then.purpose else verb.preposition
        words += [link, *_clitics(inner), inner.verb.french.infinitive, *_complements(inner)]
    return words


def _predicate(predicate: Predicate, subject: Phrase) -> list[str]:
    adjective = predicate.adjective
    quality = _agree(adjective.french, adjective.french_feminine, _features(subject))
    if predicate.than:
        return ["plus", quality, "que", *_phrase(predicate.than, owner=subject)]
    return [*([predicate.degree.french] if predicate.degree else []), quality]


# Clauses


def _subject(phrase: Phrase) -> list[str]:
    return [_subject_pronoun(phrase)] if isinstance(phrase, Pronoun) else _phrase(phrase)


def _clause(clause: Clause) -> list[str]:
    first = [clause.time.said.french, ","] if clause.time and clause.time_first else []
    return [*first, *_subject(clause.subject), *_verb(clause), *_complements(clause)]


def _relative(clause: Clause) -> list[str]:
    if isinstance(clause.object, Pronoun) and clause.object.word == "which":
        return ["que", *_clause(clause)]
    return _clause(clause)


def _question(clause: Clause, asks: Said | None) -> list[str]:
    item = clause.object
    if isinstance(clause.subject, Pronoun) and clause.subject.word == "who":
        return _clause(clause)
    if asks and clause.verb.name == "be":
        return [asks.french, *_verb(clause), *_subject(clause.subject)]
    if isinstance(item, Pronoun) and item.word == "what":
        return ["qu'est-ce", "que", *_clause(clause)]
    first = [asks.french] if asks else []
    first += _phrase(item, owner=clause.subject) if item and is_asked(item) else []
    return [*first, "est-ce", "que", *_clause(clause)]


def _command(clause: Clause, polite: bool) -> list[str]:
    verb = clause.verb.french
    finite = verb.present[2].removesuffix("ons") + "ez" if polite else verb.present[0]
    if verb.infinitive == "aller" and not polite:
        finite = "va"
    clitics = _clitics(replace(clause, subject=Pronoun("I")))
    if clause.negated:
        return ["ne", *clitics, finite, "pas", *_complements(clause)]
    me = ("vous" if polite else "toi") if verb.reflexive else "moi"
    words = [finite, *(me if clitic == "me" else clitic for clitic in clitics)]
    return ["-".join(words), *_complements(clause)]


def _continuation(clause: Clause) -> list[str]:
    """A clause without its subject ("je" is said again) and without the modal that it shares."""
    group = _group(clause)
    if group.infinitive:
        return [*_clitics(clause), group.infinitive, *_complements(clause)]
    again = ["je"] if clause.subject == Pronoun("I") else []
    return [*again, *_verb(clause), *_complements(clause)]
