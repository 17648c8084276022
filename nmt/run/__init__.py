"""A training run: a resolved configuration, a folder and a result."""
