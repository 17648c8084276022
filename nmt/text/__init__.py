"""Texts and markup: split into segments for a model, and put together again afterwards."""

from nmt.text.document import Document, Splitter, Splitting
from nmt.text.markup import Form, document_of
from nmt.text.reinsertion import AlignedText

__all__ = ["AlignedText", "Document", "Form", "Splitter", "Splitting", "document_of"]
