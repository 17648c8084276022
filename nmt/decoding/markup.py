"""HTML and XML: the text between tags is translated block by block, and every tag stays.

Tags are found by their form alone and everything between two of them is text, so that nothing is
lost of markup that no parser would like. Tags within a block go around the words that were
translated from theirs; what must not be translated (scripts, code, `translate="no"`) stays where
the attention puts it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Literal

from nmt.decoding.text import Builder, Document, Item, Splitter, Splitting

# Bounded, so that text full of `<` takes no longer than other text.
TAG = re.compile(
    r"""(
      <!--.{0,10000}?-->
    | <!\[CDATA\[.{0,10000}?\]\]>
    | <[!?][^<>]{0,1000}>
    | </?[A-Za-z][^\s/<>]{0,100}(?:\s(?:[^<>"']|"[^"]{0,4000}"|'[^']{0,4000}'){0,1000})?/?>
    )""",
    re.VERBOSE | re.DOTALL,
)
NAME = re.compile(r"</?([A-Za-z][^\s/<>]*)")
UNTRANSLATED = re.compile(
    r"""\stranslate\s*=\s*["']?no\b|\sclass\s*=\s*["'][^"']*\bnotranslate\b""", re.IGNORECASE
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VOID = _names("area base br col embed hr img input link meta param source track wbr")
# Of these, nothing is translated.
OPAQUE_BLOCKS = _names("script style textarea noscript template")
OPAQUE = OPAQUE_BLOCKS | _names("code kbd samp svg math")
# Elements of HTML that are part of a line; all others begin a new one.
INLINE = (OPAQUE - OPAQUE_BLOCKS) | _names(
    "a abbr acronym b bdi bdo big cite data del dfn em font i img input ins label mark nobr output "
    "picture q rp rt ruby s small span strike strong sub sup time tt u var wbr"
)


Form = Literal["text", "html", "xml"]


def document_of(
    splitter: Splitter, text: str, form: Form, splitting: Splitting = "sentences"
) -> Document:
    """A text with markup, or without; in XML, all elements are part of a line."""
    if form == "text":
        return splitter.document(text, splitting)
    parser = _Parser(splitter, form == "xml", splitting in ("sentences", "nonewlines"))
    for i, part in enumerate(TAG.split(text)):
        if i % 2:
            parser.tag(part)
        elif part:
            parser.text(part)
    return parser.end()


class _Parser:
    """Collects a block's items, and hands them on at its end."""

    def __init__(self, splitter: Splitter, xml: bool, sentences: bool) -> None:
        self._builder = Builder(splitter, _escape)
        self._xml, self._sentences = xml, sentences
        self._items: list[Item] = []
        self._opaque: list[str] = []  # names of the open elements within one that stays as it is
        self._kept = ""  # of it, so far

    def text(self, part: str) -> None:
        """What is between two tags."""
        if self._opaque:
            self._kept += part
        else:
            self._items.append(Item("text", html.unescape(part)))

    def tag(self, tag: str) -> None:
        """A tag, a comment or a declaration."""
        name = self._name(tag)
        if self._opaque:
            self._inside_opaque(tag, name)
        elif name is None:
            self._items.append(Item("point", tag))
        elif not tag.startswith("</") and not self._is_void(tag, name) and self._stays(tag, name):
            self._opaque, self._kept = [name], tag
        elif self._xml or name in INLINE:
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

    def _name(self, tag: str) -> str | None:
        """None: it is no element's tag."""
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
    """Tags without their other half, or that cross others, stand at one place each."""
    found = list(items)
    opened: list[int] = []
    for i, item in enumerate(found):
        if item.kind == "open":
            opened.append(i)
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
