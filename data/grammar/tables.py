"""Reads the word tables (`*.txt`) that lie beside this file.

One word a line, cells separated by "|"; "#" begins a comment; within a cell "_" stands for a space.
"""

from __future__ import annotations

from pathlib import Path


def table(name: str) -> list[list[str]]:
    """The rows of a table, each a list of cells."""
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def forms(cell: str) -> list[str]:
    """The words of a cell."""
    return [word.replace("_", " ") for word in cell.split()]
