"""The sweepers of nmt, for hydra."""
