"""Time, memory and words out of one long line:
`python -m tests.benchmarks.long_lines <model folder> [--threads 2] [--precision int8]`.

Lines of 10 to 100,000 words, and of a megabyte without a space, each in a new process.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

from nmt import Translator
from tests.benchmarks.ours import in_new_process, test2016

WORDS = (10, 100, 1_000, 10_000, 100_000)
MEGABYTE = 1_000_000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="int8")
    options = parser.parse_args()
    words = " ".join(test2016(1000)[0]).split()
    lines = {f"{count:,} words": " ".join((words * 10)[:count]) for count in WORDS}
    lines["1 MB of `a`"] = "a" * MEGABYTE
    lines["1 MB of `<`"] = "<" * MEGABYTE
    lines["1 MB of ideographs"] = "漢字" * (MEGABYTE // 6)
    print("| line | seconds | words out | parts | memory more, MB |\n|---|---|---|---|---|")
    for name, line in lines.items():
        row = in_new_process(measured, options.folder, line, options.threads, options.precision)
        print(f"| {name} | {row[0]:.2f} | {row[1]:,} | {row[2]:,} | {row[3]:.0f} |", flush=True)


def measured(folder: str, line: str, threads: int, precision: Any) -> tuple[float, int, int, float]:
    """Seconds, words of the translation, parts, and megabytes of memory that it took."""
    translator = Translator.load(folder, device="cpu", threads=threads, precision=precision)
    translator.translate(["A man is sleeping."])
    before, begin = _peak(), time.perf_counter()
    (found,) = translator.translate([line])
    return time.perf_counter() - begin, len(found.text.split()), found.parts, _peak() - before


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
