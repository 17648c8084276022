"""Logging of commands and their worker processes."""

from __future__ import annotations

import logging
import sys


def start_logging() -> None:
    """Log to stderr, since stdout is for a command's results."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
