"""`nmt-translate`: translate a file or stdin, of any length."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from nmt.command import run_command
from nmt.config import Direction, TranslateConfig, find_direction
from nmt.corpus.lines import read_lines
from nmt.errors import InputError
from nmt.memory import spare_loaded_objects
from nmt.output_file import written_to

if TYPE_CHECKING:
    from nmt.decoding.translation import Translation
    from nmt.decoding.translator import Translator

logger = logging.getLogger(__name__)

REPORTED = 30.0  # seconds between two lines of progress
QUIET = 5.0  # seconds in which a command needs no report
PATIENCE = 0.01  # seconds without a new line, after which those that are there are translated
NAMED = 10  # lines that a warning names, at most


def main() -> None:
    """The console script."""
    run_command("nmt-translate", TranslateConfig, translate, "translate")


def translate(config: TranslateConfig) -> None:
    """Translate the input as it arrives, at most a buffer of lines at a time, and write each line
    as soon as it is ready.

    Raises:
        InputError: the input is not UTF-8, the output cannot be written, or the model does not
            translate between these languages.
        CorpusError: the input file is missing or damaged.
    """
    # Imported only here because torch takes a second to import, and `--help` needs none.
    from nmt.decoding.translator import Translator

    chosen = config.translator
    lines = read_lines(config.input) if config.input is not None else stdin_lines(_stdin())
    translator = Translator.from_settings(chosen.folder, chosen, config.decode)
    direction = find_direction(translator.directions, config.source, config.target)
    spare_loaded_objects()
    with written_to(config) as output:
        progress = Progress(config.progress, translator.where, done=output.lines)
        for _ in islice(lines, output.lines):  # translated before an interruption
            pass
        for line in translated(translator, direction, lines, config, progress):
            output.write(line)
            progress.count()
        progress.finish(output.name is not None)


@dataclass
class Progress:
    """What is told of a command on stderr."""

    wanted: bool
    where: str = ""  # the devices, and the threads of a CPU
    done: int = 0  # lines of the output, those before an interruption included
    long: list[int] = field(default_factory=list)  # lines that were translated in parts
    lines: int = 0  # now
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def count(self) -> None:
        """A line has been written."""
        self.lines += 1
        now = time.monotonic()
        if self.wanted and now - self.told >= REPORTED:
            self.told = now
            logger.info("%s", self._summary(now))

    def finish(self, to_file: bool) -> None:
        """Summarise, where it took long or leaves a file, and warn of long lines."""
        now = time.monotonic()
        if self.wanted and (to_file or now - self.began >= QUIET):
            logger.info("%s", self._summary(now))
        if self.long:
            numbers = ", ".join(map(str, self.long[:NAMED]))
            more = ", …" if len(self.long) > NAMED else ""
            logger.warning(
                "%d lines were too long for the model and were translated in parts "
                "(`decode.max_source_tokens`): %s%s",
                len(self.long),
                numbers,
                more,
            )

    def _summary(self, now: float) -> str:
        seconds = max(now - self.began, 1e-3)
        total = self.done + self.lines
        speed = f"{total:,} lines, {seconds:.1f} s, {self.lines / seconds:,.1f} lines/s"
        return f"{speed}, {self.where}" if self.where else speed


def translated(
    translator: Translator,
    direction: Direction,
    lines: Iterable[str],
    config: TranslateConfig,
    progress: Progress,
) -> Iterator[str]:
    """The lines of the output in the configured format."""
    source, target = direction.source, direction.target
    if config.input_format == "html":
        document = "\n".join(lines)
        yield from translator.translate_texts([document], "html", source=source, target=target)
        return
    for texts in arriving(lines, config.buffer):
        if config.input_format == "sentences":
            yield from translator.translate_texts(texts, source=source, target=target)
            continue
        first = progress.done + progress.lines + 1
        aligned = config.output_format != "text"
        found = translator.translate(texts, source=source, target=target, alignments=aligned)
        progress.long += [n for n, one in enumerate(found, first) if one.parts > 1]
        for one in found:
            match config.output_format:
                case "text":
                    yield one.text
                case "jsonl":
                    yield as_json(one)
                case "pharaoh":
                    yield f"{one.text} ||| {one.pharaoh()}".rstrip()


def arriving(lines: Iterable[str], most: int) -> Iterator[list[str]]:
    """The lines that have arrived since the last ones were taken, at most so many: a slow pipe's
    lines are not held back until a buffer is full."""
    waiting: queue.Queue[str | Exception | None] = queue.Queue(most)

    def read() -> None:
        end: Exception | None = None
        try:
            for line in lines:
                waiting.put(line)
        except Exception as error:
            end = error
        waiting.put(end)

    threading.Thread(target=read, daemon=True).start()
    while True:
        texts: list[str] = []
        item = waiting.get()
        while isinstance(item, str):
            texts.append(item)
            if len(texts) == most:
                break
            try:
                # A reader of a file is about as fast as this loop, and never far ahead.
                item = waiting.get(timeout=PATIENCE)
            except queue.Empty:
                break
        if texts:
            yield texts
        if isinstance(item, Exception):
            raise item
        if item is None:
            return


def _stdin() -> BinaryIO:
    """stdin through a buffer of our own: Python ends with an error while a thread reads its own."""
    try:
        number = sys.stdin.fileno()
    except OSError:
        return sys.stdin.buffer  # it is not a file, as in tests
    return open(number, "rb", closefd=False)


def stdin_lines(stream: BinaryIO) -> Iterator[str]:
    """The lines of a binary stream, split at "\\n" only, as in `read_lines`.

    Raises:
        InputError: a line is not UTF-8.
    """
    for number, raw in enumerate(stream, 1):
        try:
            yield raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"stdin must be UTF-8, but line {number} is not valid UTF-8: it has byte "
                f"0x{raw[error.start]:02x} at position {error.start + 1} instead; convert it, "
                "for instance with iconv."
            ) from None


def as_json(translation: Translation) -> str:
    """All fields of a translation as one line of JSON."""
    values = asdict(translation)
    if translation.alignment is not None:
        values["alignment"] = [[round(p, 4) for p in row] for row in translation.alignment.tolist()]
    return json.dumps(values, ensure_ascii=False)


if __name__ == "__main__":
    main()
