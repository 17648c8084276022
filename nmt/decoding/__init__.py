"""Searching for translations: beam search over a running batch, and `Translator`."""

from nmt.decoding.translation import Alternative, Translation, aligned_text
from nmt.decoding.translator import DEFAULT, Translator

__all__ = ["DEFAULT", "Alternative", "Translation", "Translator", "aligned_text"]
