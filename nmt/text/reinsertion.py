"""Markup inside a sentence: taken out before translation, reinserted by the alignment.

A mark is a pair of tags around some words, or something at a single place (a placeholder, a
picture). The model reads the sentence without marks. Each word of the translation is aligned with
the source word that it attended to most; a mark encloses the longest run of words that are aligned
with its source words. So marks stay nested as they were, and none is ever lost.

Words are separated by white space: in languages without it a sentence is one word, and marks
enclose all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WORD = re.compile(r"\S+")
WORD_START = "▁"  # SentencePiece's sign
PUNCTUATION = ".,;:!?…。，！？"


class Neighbours(NamedTuple):
    """What surrounds a point in the source."""

    space_before: bool = False
    space_behind: bool = False
    letter_behind: bool = False
    punctuation_behind: bool = False


class Mark(NamedTuple):
    """A pair of tags around characters `start` to `end` (exclusive) of a text; a point if equal."""

    start: int
    end: int
    opening: str
    closing: str = ""
    neighbours: Neighbours = Neighbours()


@dataclass(frozen=True)
class AlignedText:
    """A translation with the pieces of both sides and the attention between them."""

    text: str
    tokens: Sequence[str]
    source_tokens: Sequence[str]
    alignment: np.ndarray | None  # (T, S) weights; None: unknown, taken to be along the diagonal


@dataclass
class _Tree:
    """A mark, and the marks inside of it."""

    mark: Mark
    words: tuple[int, int]  # source words, end exclusive
    inner: list[_Tree]


class Insertion(NamedTuple):
    """A string to be inserted before a character of the translation."""

    place: int
    text: str
    mark: Mark


def reinsert(source: str, marks: Sequence[Mark], translation: AlignedText) -> list[Insertion]:
    """Where the strings of marks are inserted, in order.

    `marks` are nested or apart, outer ones first.
    """
    source_words = [match.span() for match in WORD.finditer(source)]
    words = [match.span() for match in WORD.finditer(translation.text)]
    weights = _between_words(translation, len(words), len(source_words))
    found: list[Insertion] = []
    _place(_trees(marks, source_words), (0, len(words)), weights, translation.text, words, found)
    return sorted(found, key=lambda one: one.place)  # stable: what is nested stays so


def _between_words(translation: AlignedText, words: int, source_words: int) -> np.ndarray:
    """The attention between words: (words, source words), summed over their pieces."""
    target = _words_of(translation.tokens, words)
    source = _words_of(translation.source_tokens, source_words)
    summed = np.zeros((words, source_words))
    alignment = translation.alignment
    if alignment is None:
        alignment = _diagonal(len(target), len(source))
    for row, place in zip(alignment, target, strict=False):
        if 0 <= place < words:
            np.add.at(summed[place], source, row[: len(source)])
    return summed


def _diagonal(targets: int, sources: int) -> np.ndarray:
    places = (np.arange(targets) * sources / max(targets, 1)).astype(int)
    found = np.zeros((targets, sources))
    if sources:
        found[np.arange(targets), places] = 1.0
    return found


def _words_of(pieces: Sequence[str], words: int) -> list[int]:
    """The word that each piece belongs to; a piece may be just the start of the next word."""
    found, word = [], -1
    for place, piece in enumerate(pieces):
        if piece.startswith(WORD_START) or place == 0:
            word += 1
        found.append(min(max(word, 0), words - 1))
    return found


def _trees(marks: Sequence[Mark], words: Sequence[tuple[int, int]]) -> list[_Tree]:
    roots: list[_Tree] = []
    open_ones: list[_Tree] = []
    for mark in marks:
        first = sum(end <= mark.start for _, end in words)
        if mark.start == mark.end:
            first = sum(start < mark.start for start, _ in words)
            end = first
        else:
            end = max(first, sum(start < mark.end for start, _ in words))
        tree = _Tree(mark, (first, end), [])
        while open_ones and not _within(mark, open_ones[-1].mark):
            open_ones.pop()
        (open_ones[-1].inner if open_ones else roots).append(tree)
        if mark.start < mark.end:
            open_ones.append(tree)
    return roots


def _within(mark: Mark, outer: Mark) -> bool:
    return outer.start <= mark.start and mark.end <= outer.end


def _place(
    trees: Sequence[_Tree],
    within: tuple[int, int],
    weights: np.ndarray,
    text: str,
    words: Sequence[tuple[int, int]],
    found: list[Insertion],
) -> None:
    """Place marks that are side by side among the words `within` of the translation."""
    runs = _runs(trees, within, weights)
    for i in sorted(range(len(trees)), key=lambda i: (runs[i], i)):
        (first, end), mark = runs[i], trees[i].mark
        behind = first >= within[1] and first > 0  # the last word of what is around
        start = 0 if not words else words[first - 1][1] if behind else words[first][0]
        if mark.start == mark.end and mark.neighbours.punctuation_behind and first > 0:
            last = text[slice(*words[first - 1])]
            start = words[first - 1][1] - (len(last) - len(last.rstrip(PUNCTUATION)))
        found.append(Insertion(start, mark.opening, mark))
        if mark.start < mark.end:
            _place(trees[i].inner, (first, end), weights, text, words, found)
            found.append(Insertion(words[end - 1][1] if end > first else start, mark.closing, mark))


def _runs(
    trees: Sequence[_Tree], within: tuple[int, int], weights: np.ndarray
) -> list[tuple[int, int]]:
    """For each mark the words of the translation that it encloses, without overlaps; or the place
    of a mark that encloses none."""
    first, end = within
    rows = weights[first:end]
    if not len(rows) or not weights.shape[1]:
        return [(first, first)] * len(trees)
    best, looked = rows.argmax(1), rows.max(1) > 0
    free = np.ones(len(rows), dtype=bool)
    found: dict[int, tuple[int, int]] = {}
    for i, tree in enumerate(trees):
        own, own_end = tree.words
        mine = (best >= own) & (best < own_end) & looked & free
        if own == own_end:
            found[i] = (_place_of(own, rows),) * 2
        elif mine.any():
            found[i] = _longest_run(mine)
            free[slice(*found[i])] = False
    for i, tree in enumerate(trees):
        if i not in found:  # no word is aligned with it: take the one that attended to it the most
            shares = rows[:, slice(*tree.words)].sum(1)
            place = int(np.where(free, shares, -1.0).argmax())
            found[i] = (place, place + int(free[place]))
            free[place] = False
    return [(first + found[i][0], first + found[i][1]) for i in range(len(trees))]


def _place_of(source_word: int, rows: np.ndarray) -> int:
    """Behind the word aligned with the previous source word, or else before the word aligned with
    the next one."""
    best = rows.argmax(1)
    if source_word == 0:
        return 0
    before = np.flatnonzero(best == source_word - 1)
    if len(before):
        return int(before[-1]) + 1
    after = np.flatnonzero(best == source_word)
    if len(after):
        return int(after[0])
    return int(len(rows) * source_word / rows.shape[1] + 0.5)


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Start and end (exclusive) of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    runs = edges.reshape(-1, 2)
    longest = runs[(runs[:, 1] - runs[:, 0]).argmax()]
    return int(longest[0]), int(longest[1])
