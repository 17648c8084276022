"""Sources that are too long for the model: translated in parts, as texts are.

A model never saw such a source in training: what it writes ends early or repeats itself, and the
time of a step grows with the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nmt.decoding.translation import Translation, aligned_text
from nmt.text.document import Document


def joined(document: Document, parts: Sequence[Translation], alignments: bool) -> Translation:
    """The translation of a source, from those of its segments; with an alignment if asked for."""
    sizes = [(len(part.tokens), len(part.source_tokens)) for part in parts]
    alignment = None
    if alignments:
        alignment = np.zeros((sum(t for t, _ in sizes), sum(s for _, s in sizes)), np.float32)
        row = column = 0
        for part, (targets, sources) in zip(parts, sizes, strict=True):
            alignment[row : row + targets, column : column + sources] = part.alignment
            row, column = row + targets, column + sources
    return Translation(
        text=document.join([aligned_text(part) for part in parts]),
        score=sum(part.score for part in parts),
        log_probability=sum(part.log_probability for part in parts),
        tokens=[token for part in parts for token in part.tokens],
        source_tokens=[token for part in parts for token in part.source_tokens],
        alignment=alignment,
        alternatives=[],
        truncated=any(part.truncated for part in parts),
        parts=max(1, len(parts)),
    )


def without_alignment(translation: Translation, wanted: bool) -> Translation:
    """A translation without the alignment, if only the joining of others needed it."""
    return translation if wanted else replace(translation, alignment=None)
