"""Tuning of memory: the C library's allocator for large tensors, and Python's collector."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any


def keep_memory() -> None:
    """Make glibc keep freed memory for reuse instead of returning it to the system. Does nothing
    with other C libraries.

    By default, glibc gets new pages from the system for each large tensor, and the system must
    clear them first, which takes over a third of the time of a training step on the CPU and a tenth
    of that of a decoding step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_TRIM_THRESHOLD, … in malloc.h
    mallopt(mmap_max, 0)  # never map memory for a single tensor
    mallopt(trim_threshold, -1)  # never shrink the heap
    mallopt(top_pad, 64 << 20)  # grow it in steps of 64 MiB


def spare_loaded_objects() -> None:
    """Keep Python's collector of garbage away from everything that has been loaded so far.

    The half a million objects of PyTorch and the like live until the end, but looking through all
    of them takes a tenth of a second, again and again: a pause in whatever runs.
    """
    gc.freeze()
