"""HTML and XML: the text between tags is translated block by block, and every tag is kept.

Tags are recognised by their syntax alone, and everything between two tags is text, so that nothing
is lost of markup that a parser would reject. Inline tags enclose the translations of the words that
they enclosed; what must not be translated (scripts, code, `translate="no"`) is kept, at the place
that the attention gives it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nmt.text.document import Builder, Document, Item, Splitter, Splitting

# A tag, within the lengths of real ones, so that matching takes linear time.
TAG = re.compile(
    r"""<[!?][^<>]{0,1000}>
    | </?[A-Za-z][^\s/<>]{0,100}(?:\s(?:[^<>"']|"[^"]{0,4000}"|'[^']{0,4000}'){0,1000})?/?>
    """,
    re.VERBOSE,
)
# Sections that end at a certain string, whatever they contain.
ENCLOSED = (("<!--", "-->"), ("<![CDATA[", "]]>"))
NAME = re.compile(r"</?([A-Za-z][^\s/<>]*)")
OWN_ENTITY = re.compile(r"(&(?!(?:amp|lt|gt|quot|apos);)[A-Za-z_][\w.-]{0,60};)")
DEEPEST = 50  # nested pairs of tags
UNTRANSLATED = re.compile(
    r"""\stranslate\s*=\s*["']?no\b|\sclass\s*=\s*["'][^"']*\bnotranslate\b""", re.IGNORECASE
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VOID = _names("area base br col embed hr img input link meta param source track wbr")
# Elements whose content is not translated.
OPAQUE_BLOCKS = _names("script style textarea noscript template")
RAW = _names("script style textarea")
OPAQUE = OPAQUE_BLOCKS | _names("code kbd samp svg math")
# Inline elements of HTML; all others begin a new block.
INLINE = (OPAQUE - OPAQUE_BLOCKS) | _names(
    "a abbr acronym b bdi bdo big cite data del dfn em font i img input ins label mark nobr output "
    "picture q rp rt ruby s small span strike strong sub sup time tt u var wbr"
)


Markup = Literal["text", "html", "xml"]


def parse_document(
    splitter: Splitter, text: str, markup: Markup, splitting: Splitting = "sentences"
) -> Document:
    """Split a text, with or without markup, into segments. In XML, an element is inline if there is
    text beside it."""
    if markup == "text":
        return splitter.document(text, splitting)
    parts = list(tokens(text))
    blocks = _xml_blocks(parts) if markup == "xml" else None
    parser = _Parser(splitter, blocks, splitting in ("sentences", "nonewlines"))
    for place, (is_tag, part) in enumerate(parts):
        if is_tag:
            parser.tag(part, place)
        else:
            parser.text(part)
    return parser.end()


def tokens(text: str) -> Iterator[tuple[bool, str]]:
    """Tags (true) and the text between them (false); joined, they are the input. Takes time linear
    in the input's length, whatever it contains."""
    done = place = 0
    without_end: set[str] = set()
    while (place := text.find("<", place)) >= 0:
        end = -1
        for opening, closing in ENCLOSED:
            if text.startswith(opening, place) and closing not in without_end:
                found = text.find(closing, place + len(opening))
                if found < 0:
                    without_end.add(closing)
                else:
                    end = found + len(closing)
        if end < 0 and (match := TAG.match(text, place)):
            end = match.end()
        if end < 0:
            place += 1
            continue
        if done < place:
            yield False, text[done:place]
        yield True, text[place:end]
        done = place = end
    if done < len(text):
        yield False, text[done:]


@dataclass
class _Element:
    """An element of XML, while its content is read."""

    name: str
    parent: _Element | None
    mixed: bool = False  # whether it contains text directly
    tags: list[int] = field(default_factory=list)  # positions of its own tags

    @property
    def block(self) -> bool:
        """Whether it is a block: none of its ancestors contains text directly."""
        parent = self.parent
        while parent is not None and not parent.mixed:
            parent = parent.parent
        return parent is None


def _xml_blocks(parts: Sequence[tuple[bool, str]]) -> frozenset[int]:
    """Positions of the tags that begin or end a block."""
    root = here = _Element("", None)
    everything: list[_Element] = []
    depth = 0
    for place, (is_tag, part) in enumerate(parts):
        match = NAME.match(part) if is_tag else None
        if not is_tag:
            here.mixed |= bool(part.strip())
        elif match is None:
            continue
        elif part.startswith("</"):
            if here is not root and here.name == match[1]:
                here.tags.append(place)
                assert here.parent is not None, "only the root has none"
                here, depth = here.parent, depth - 1
        else:
            element = _Element(match[1], here, tags=[place])
            everything.append(element)
            if not part.endswith("/>") and depth < DEEPEST:
                here, depth = element, depth + 1
    return frozenset(place for one in everything if one.block for place in one.tags)


class _Parser:
    """Collects the items of a block, and passes them to the builder at its end."""

    def __init__(
        self, splitter: Splitter, xml_blocks: frozenset[int] | None, sentences: bool
    ) -> None:
        """`xml_blocks` are the positions of block tags in XML; None: the text is HTML."""
        self._builder = Builder(splitter, _escape)
        self._xml_blocks, self._sentences = xml_blocks, sentences
        self._xml = xml_blocks is not None
        self._items: list[Item] = []
        self._opaque: list[str] = []  # names of open elements inside of an untranslated one
        self._kept = ""  # the untranslated element so far

    def text(self, part: str) -> None:
        """Text between two tags."""
        if self._opaque:
            self._kept += part
        else:
            self._items += _read(part, self._xml)

    def tag(self, tag: str, place: int) -> None:
        """A tag, a comment or a declaration, and its position among all parts."""
        name = self._name(tag)
        if self._opaque:
            self._inside_opaque(tag, name)
        elif name is None:
            self._items.append(Item("point", tag))
        elif not tag.startswith("</") and not self._is_void(tag, name) and self._stays(tag, name):
            self._opaque, self._kept = [name], tag
        elif self._in_line(name, place):
            self._inline(tag, name)
        else:
            self._end_block()
            self._builder.keep(tag)

    def end(self) -> Document:
        """The whole document."""
        if self._opaque:
            self._items.append(Item("point", self._kept))
        self._end_block()
        return self._builder.document()

    def _in_line(self, name: str, place: int) -> bool:
        return name in INLINE if self._xml_blocks is None else place not in self._xml_blocks

    def _name(self, tag: str) -> str | None:
        """The name of a tag's element; None for comments and declarations."""
        match = NAME.match(tag)
        if match is None:
            return None
        return match[1] if self._xml else match[1].lower()

    def _is_void(self, tag: str, name: str) -> bool:
        return tag.endswith("/>") or (not self._xml and name in VOID)

    def _stays(self, tag: str, name: str) -> bool:
        return (not self._xml and name in OPAQUE) or UNTRANSLATED.search(tag) is not None

    def _inside_opaque(self, tag: str, name: str | None) -> None:
        self._kept += tag
        if name is None or self._is_void(tag, name):
            return
        if not self._xml and self._opaque[0] in RAW:  # what looks like a tag there is text
            if tag.startswith("</") and name == self._opaque[0]:
                self._opaque = []
                self._items.append(Item("point", self._kept))
            return
        if not tag.startswith("</"):
            self._opaque.append(name)
        elif name in self._opaque:
            while self._opaque.pop() != name:
                pass
        if not self._opaque:
            self._items.append(Item("point", self._kept))

    def _inline(self, tag: str, name: str) -> None:
        if self._is_void(tag, name):
            self._items.append(Item("point", tag))
        elif tag.startswith("</"):
            self._items.append(Item("close", tag))
        else:
            self._items.append(Item("open", tag, f"</{name}>"))

    def _end_block(self) -> None:
        if self._items:
            self._builder.add_line(balanced(self._items), self._sentences)
            self._items = []


def balanced(items: Sequence[Item]) -> list[Item]:
    """Items in which tags that lack a partner, cross others or nest too deeply are points."""
    found = list(items)
    opened: list[int] = []
    for i, item in enumerate(found):
        if item.kind == "open":
            if len(opened) < DEEPEST:
                opened.append(i)
            else:
                found[i] = Item("point", item.text)
        elif item.kind == "close":
            name = _closing(item.text)
            match = next((j for j in reversed(opened) if _closing(found[j].closing) == name), None)
            if match is None:
                found[i] = Item("point", item.text)
                continue
            while opened[-1] != match:
                lost = opened.pop()
                found[lost] = Item("point", found[lost].text)
            opened.pop()
    for i in opened:
        found[i] = Item("point", found[i].text)
    return found


def _closing(tag: str) -> str:
    return tag.removeprefix("</").rstrip("> \t\n").lower()


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def _read(part: str, xml: bool) -> list[Item]:
    """Text with its entities decoded; entities that an XML document defines itself are points."""
    if not xml:
        return [Item("text", _unescaped(part))]
    found: list[Item] = []
    for i, piece in enumerate(OWN_ENTITY.split(part)):
        if piece:
            found.append(Item("point", piece) if i % 2 else Item("text", _unescaped(piece)))
    return found


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a number of thousands of digits
        return text
