"""Translating with a trained model: beam search, the running batch, and `Translator`."""

from nmt.decoding.marks import Reading
from nmt.decoding.markup import Form, document_of
from nmt.decoding.process import RemoteModel, load_models
from nmt.decoding.running import (
    Ask,
    ClosedError,
    DeadlineError,
    Limits,
    QueueFullError,
    RunningBatch,
    Search,
    Submission,
)
from nmt.decoding.text import Document, Splitter, Splitting
from nmt.decoding.translator import DEFAULT, Translator
from nmt.decoding.wording import Alternative, Translation, reading_of

__all__ = [
    "DEFAULT",
    "Alternative",
    "Ask",
    "ClosedError",
    "DeadlineError",
    "Document",
    "Form",
    "Limits",
    "QueueFullError",
    "Reading",
    "RemoteModel",
    "RunningBatch",
    "Search",
    "Splitter",
    "Splitting",
    "Submission",
    "Translation",
    "Translator",
    "document_of",
    "load_models",
    "reading_of",
]
