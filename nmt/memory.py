"""The C library's memory, as work on large tensors wants it."""

from __future__ import annotations

import ctypes
import sys
from typing import Any


def keep_memory() -> None:
    """Make glibc keep freed memory for the next step instead of giving it back to the system.

    By default each large tensor gets fresh pages from the system, which it must clear first; a
    training step on the CPU spends over a third of its time there, a step of decoding a tenth.
    Elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # names of malloc.h: M_TRIM_THRESHOLD, …
    mallopt(mmap_max, 0)  # no tensor in a mapping of its own
    mallopt(trim_threshold, -1)  # never shrink the heap
    mallopt(top_pad, 64 << 20)  # grow it in steps of 64 MiB
