"""Corpora: reading, filtering, batching, and the sample that the project makes itself."""
