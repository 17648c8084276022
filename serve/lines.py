"""Text of several lines: cut into what is translated, and put together again around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NEWLINES = re.compile(r"([\r\n]+)")


@dataclass(frozen=True)
class Lines:
    """A text as `segments` to translate and what stays: one more stretch than segments."""

    segments: list[str]
    kept: list[str]

    def join(self, translations: Sequence[str]) -> str:
        """The text with its segments replaced and its white space as it was."""
        pairs = zip(translations, self.kept[1:], strict=True)
        return self.kept[0] + "".join(text + kept for text, kept in pairs)


def split(text: str) -> Lines:
    """One segment for each line that has a letter in it; everything else is kept as it is."""
    segments, kept = [], [""]
    for piece in NEWLINES.split(text):
        segment = piece.strip()
        if any(map(str.isalpha, segment)):
            before, _, after = piece.partition(segment)
            kept[-1] += before
            segments.append(segment)
            kept.append(after)
        else:
            kept[-1] += piece
    return Lines(segments, kept)
