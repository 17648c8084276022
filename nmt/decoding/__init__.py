"""Translating with a trained model: beam search, the running batch, and `Translator`."""

from nmt.decoding.translator import DEFAULT, Alternative, Translation, Translator

__all__ = ["DEFAULT", "Alternative", "Translation", "Translator"]
