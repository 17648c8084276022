"""Texts and markup: split into segments for a model, and put together again afterwards."""

from nmt.text.document import Document, Splitter, Splitting
from nmt.text.markup import Markup, parse_document
from nmt.text.reinsertion import AlignedText

__all__ = ["AlignedText", "Document", "Markup", "Splitter", "Splitting", "parse_document"]
