"""Corpora: reading, filtering, encoding and batching parallel text."""
