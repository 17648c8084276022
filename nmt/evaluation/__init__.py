"""Scoring translations with confidence intervals, and reports of evaluations."""
