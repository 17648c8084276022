"""Scores of translations with their uncertainty, and the report of an evaluation."""
