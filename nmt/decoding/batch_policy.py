"""How many sentences are decoded together, and when it pays to add more. The one policy of batches,
offline and in the server.
"""

from __future__ import annotations

USUAL_LENGTH = 128  # source positions; a batch with longer sentences holds fewer of them
REFILL = 4  # sentences are added when this fraction (1/REFILL) of the batch is free


def capacity(sentences: int, longest: int) -> int:
    """Sentences that may be decoded together when the longest has `longest` source positions.
    `sentences` is the number at usual lengths; beyond those it falls in proportion, so that a
    batch's memory is bounded."""
    return max(1, sentences * USUAL_LENGTH // max(longest, USUAL_LENGTH))


def worth_adding(room: int, sentences: int, waiting: int) -> bool:
    """Whether it pays to add sentences to a batch that has room for so many more: encoding a few
    takes hardly longer than encoding one, so it waits for a quarter of the batch to be free, or
    for room for all that wait."""
    return room >= min(waiting, max(1, sentences // REFILL))
