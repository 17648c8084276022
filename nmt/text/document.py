"""Texts split into the segments that a model reads, and joined again after translation.

White space is kept. Placeholders and addresses are taken out of a sentence, so that no model can
change them, and reinserted where the attention points. A segment that is too long is split at
punctuation or at white space; nothing is ever dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from nmt.text.reinsertion import PUNCTUATION, AlignedText, Mark, Neighbours, reinsert

# sentences: each line is split into its sentences; nonewlines: into sentences that may span lines;
# lines: at line ends only; none: the text is one segment.
Splitting = Literal["sentences", "nonewlines", "lines", "none"]
Escape = Callable[[str], str]

NEWLINES = re.compile(r"([\r\n\u2028\u2029]+)")
# What must be kept verbatim: addresses, and placeholders that programs fill in.
PROTECTED = re.compile(
    r"""(
      (?:https?://|www\.)[^\s<>"']*[^\s<>"'.,;:!?)\]}]  # a URL, without the sentence's punctuation
    | [\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+       # an e-mail address
    | \{\{[^{}\n]{0,80}\}\}                             # {{ name }}
    | \$?\{[^{}\s][^{}\n]{0,80}\}                       # {name}, ${name}
    | %(?:\(\w{1,64}\)|\d{1,2}\$)?[sdifgxX@](?!\w)      # %s, %(name)s, %1$s
    )""",
    re.VERBOSE,
)
STRETCH = 2000  # characters that the sentence splitter gets at a time
END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s+")
BRACKETS = dict(zip("\"'“„«‘([{<", "\"'”“»’)]}>", strict=True))
# Where a segment that is too long is split, the better places first.
CUTS = (re.compile(r"[;:—–。；：]\s*"), re.compile(r"[,、，)\]]\s*"), re.compile(r"\s+"))


class Item(NamedTuple):
    """One part of a line.

    Kinds: `text` is translated; `open` and `close` are the tags of a pair; `point` is kept verbatim
    at one place; `before` and `behind` are tags of a pair that encloses several segments, outside
    of this one.
    """

    kind: Literal["text", "open", "close", "point", "before", "behind"]
    text: str
    closing: str = ""  # of an opening tag: the tag that closes it
    neighbours: Neighbours = Neighbours()  # of a point


@dataclass(frozen=True)
class Segment:
    """What the model reads, and the marks that are reinserted into its translation."""

    text: str
    marks: tuple[Mark, ...] = ()

    def translated(self, translation: AlignedText, escape: Escape = str) -> str:
        """The translation with its marks; `escape` is applied to everything that is not markup."""
        if not self.marks:
            return escape(translation.text)
        parts: list[str] = []
        done = 0
        for place, text, mark in reinsert(self.text, self.marks, translation):
            parts += [
                escape(translation.text[done:place]),
                _spaced(text, mark, translation.text, place),
            ]
            done = place
        return "".join([*parts, escape(translation.text[done:])])


def _spaced(text: str, mark: Mark, translation: str, place: int) -> str:
    """A mark's text with the white space that surrounded it in the source."""
    if mark.start < mark.end:
        return text
    touches = place > 0 and not translation[place - 1].isspace()
    before = " " if mark.neighbours.space_before and touches else ""
    behind = translation[place : place + 1]
    at_word = behind.isalnum() and not mark.neighbours.letter_behind
    spaced = mark.neighbours.space_behind and behind and not behind.isspace()
    closes = behind and behind in PUNCTUATION
    return before + text + (" " if (at_word or spaced) and not closes else "")


@dataclass(frozen=True)
class Document:
    """A text as segments to translate, and what is kept between them.

    `kept` has one string more than there are segments: before, between and behind them.
    """

    segments: list[Segment]
    kept: list[str]
    escape: Escape = field(default=str, compare=False)

    @property
    def needs_alignments(self) -> bool:
        """Whether marks have to be placed by the attention."""
        return any(segment.marks for segment in self.segments)

    def join(self, translations: Sequence[AlignedText]) -> str:
        """The text with its segments replaced by their translations."""
        pairs = zip(self.segments, translations, self.kept[1:], strict=True)
        return self.kept[0] + "".join(
            segment.translated(translation, self.escape) + kept
            for segment, translation, kept in pairs
        )


@dataclass(frozen=True)
class Splitter:
    """How texts are split into segments for one model."""

    language: str
    count: Callable[[str], int]  # text → its number of pieces
    longest: int  # pieces of a segment, at most

    def document(self, text: str, splitting: Splitting = "sentences") -> Document:
        """Split a plain text."""
        builder = Builder(self)
        whole, sentences = ("none", "nonewlines"), ("sentences", "nonewlines")
        for line in [text] if splitting in whole else NEWLINES.split(text):
            builder.add_line([Item("text", line)], splitting in sentences)
        return builder.document()

    def sentences(self, line: str) -> list[str]:
        """The sentences of a line; joined, they give the line again."""
        from sentencex import segment  # takes time to load, and is not always needed

        found: list[str] = []
        for stretch in _stretches(line):
            some: list[str] = list(segment(self.language, stretch))
            # If the library lost a character, the text stays in one piece.
            found += some if "".join(some) == stretch else [stretch]
        return _whole_addresses(found, line)


def _stretches(line: str) -> list[str]:
    """A line in parts that are short enough for the sentence splitter, which is not linear."""
    found = []
    while len(line) > STRETCH:
        ends = [m.end() for m in END.finditer(line, STRETCH // 2, STRETCH)]
        spaces = line.rfind(" ", 1, STRETCH) + 1
        at = ends[-1] if ends else spaces or STRETCH
        found.append(line[:at])
        line = line[at:]
    return [*found, line]


def _whole_addresses(sentences: Sequence[str], line: str) -> list[str]:
    """Sentences without boundaries inside of addresses and placeholders."""
    ends = set(accumulate(map(len, sentences)))
    for match in PROTECTED.finditer(line):
        ends -= set(range(match.start() + 1, match.end()))
    bounds = [0, *sorted(ends - {0})]
    return [line[a:b] for a, b in pairwise(bounds)]


class Builder:
    """Builds a document line by line."""

    def __init__(self, splitter: Splitter, escape: Escape = str) -> None:
        self._splitter, self._escape = splitter, escape
        self._segments: list[Segment] = []
        self._kept = [""]

    def document(self) -> Document:
        """The document so far."""
        return Document(self._segments, self._kept, self._escape)

    def keep(self, text: str) -> None:
        """Add text that is kept verbatim."""
        self._kept[-1] += text

    def add_line(self, items: Sequence[Item], sentences: bool) -> None:
        """Add a line. Every pair of tags that opens in it must close in it."""
        line = text_of(items)
        lengths = map(len, self._splitter.sentences(line)) if sentences else [len(line)]
        for sentence in cut(collapsed(items), list(accumulate(lengths))[:-1]):
            self._add_part(sentence)

    def _add_part(self, items: Sequence[Item]) -> None:
        """Add a sentence, with the tags that enclose it together with others."""
        before, behind = (
            "".join(item.text for item in items if item.kind == kind)
            for kind in ("before", "behind")
        )
        inner = [item for item in items if item.kind not in ("before", "behind")]
        # Pairs must not cross: pairs that end here are closed before others open.
        self.keep(behind + before if before else "")
        self._add(collapsed(_protected(inner)))
        self.keep("" if before else behind)

    def _add(self, items: list[Item]) -> None:
        text = text_of(items)
        if not any(map(str.isalpha, text)):
            self.keep("".join(self._raw(item) for item in items))
        elif len(text) > 1 and self._splitter.count(text) > self._splitter.longest:
            for half in cut(items, [_middle(text)]):
                self._add_part(half)
        else:
            items = _closed_up(items)
            text = text_of(items)
            segment, before = text.strip(), len(text) - len(text.lstrip())
            self.keep(self._escape(text[:before]))
            self._segments.append(Segment(segment, tuple(_marks(items, before, len(segment)))))
            self._kept.append(self._escape(text[before + len(segment) :]))

    def _raw(self, item: Item) -> str:
        return self._escape(item.text) if item.kind == "text" else item.text


def text_of(items: Iterable[Item]) -> str:
    """The text of some items."""
    return "".join(item.text for item in items if item.kind == "text")


def collapsed(items: Iterable[Item]) -> list[Item]:
    """Items in which each pair of tags around nothing but white space is a point."""
    found: list[Item] = []
    opened: list[int] = []  # where in `found`
    for item in items:
        found.append(item)
        if item.kind == "open":
            opened.append(len(found) - 1)
        elif item.kind == "close":
            start = opened.pop()
            if not text_of(found[start:]).strip():
                found[start:] = [Item("point", "".join(one.text for one in found[start:]))]
    return found


def cut(items: Sequence[Item], places: Sequence[int]) -> list[list[Item]]:
    """Split items at characters of their text. A pair of tags that is separated encloses whole
    parts instead; each tag still occurs once, unchanged."""
    parts: list[list[Item]] = [[]]
    left, done = list(reversed(places)), 0
    opened: list[tuple[int, int]] = []  # part, and place in it
    for item in items:
        if item.kind == "text":
            rest = item.text
            while left and left[-1] < done + len(rest):
                here = left.pop() - done
                if here:
                    parts[-1].append(Item("text", rest[:here]))
                parts.append([])
                rest, done = rest[here:], done + here
            parts[-1].append(Item("text", rest))
            done += len(rest)
            continue
        added = item
        if item.kind == "open":
            opened.append((len(parts) - 1, len(parts[-1])))
        elif item.kind == "close":
            part, place = opened.pop()
            if part != len(parts) - 1:
                parts[part][place] = Item("before", parts[part][place].text)
                added = Item("behind", item.text)
        parts[-1].append(added)
    return parts


def _protected(items: Iterable[Item]) -> list[Item]:
    """Items in which placeholders and addresses are points, with the quotation marks or brackets
    around them."""
    found: list[Item] = []
    for item in items:
        if item.kind != "text":
            found.append(item)
            continue
        done = 0
        for match in PROTECTED.finditer(item.text):
            start, end = match.span()
            while start > done and BRACKETS.get(item.text[start - 1]) == item.text[end : end + 1]:
                start, end = start - 1, end + 1
            found += [Item("text", item.text[done:start])] * (start > done)
            found.append(Item("point", item.text[start:end]))
            done = end
        found += [Item("text", item.text[done:])] * (done < len(item.text))
    return found


def _closed_up(items: Sequence[Item]) -> list[Item]:
    """Items without the white space that points leave behind once the model does not see them; the
    points remember it."""
    found = list(items)
    for i, item in enumerate(found):
        if item.kind != "point":
            continue
        before, behind = _text_at(found, i - 1), _text_at(found, i + 1)
        neighbours = Neighbours(
            space_before=before[-1:].isspace(),
            space_behind=behind[:1].isspace(),
            letter_behind=behind[:1].isalnum(),
            punctuation_behind=bool(behind) and behind[0] in PUNCTUATION,
        )
        found[i] = item._replace(neighbours=neighbours)
        if behind.startswith(" ") and (not before or neighbours.space_before):
            found[i + 1] = Item("text", behind[1:])
        elif before.endswith(" ") and (not behind or neighbours.punctuation_behind):
            found[i - 1] = Item("text", before[:-1])
    return found


def _text_at(items: Sequence[Item], place: int) -> str:
    inside = 0 <= place < len(items) and items[place].kind == "text"
    return items[place].text if inside else ""


def _middle(text: str) -> int:
    """Where to split a text in two: near its middle, behind punctuation if possible."""
    middle, quarter = len(text) // 2, len(text) // 4
    for places in CUTS:
        found = [m.end() for m in places.finditer(text, quarter, len(text) - quarter)]
        if found:
            return min(found, key=lambda place: abs(place - middle))
    return max(1, middle)


def _marks(items: Sequence[Item], first: int, length: int) -> list[Mark]:
    """The marks of a segment that begins at character `first` of the items' text."""
    found: list[Mark] = []
    opened: list[int] = []  # where in `found`
    at = 0
    for item in items:
        place = min(max(at - first, 0), length)
        if item.kind == "text":
            at += len(item.text)
        elif item.kind == "open":
            opened.append(len(found))
            found.append(Mark(place, place, item.text, item.closing))
        elif item.kind == "close":
            start = opened.pop()
            found[start] = found[start]._replace(end=place)
        else:
            found.append(Mark(place, place, item.text, neighbours=item.neighbours))
    return found
