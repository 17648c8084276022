"""`nmt-translate`: translate a file or stdin, of any length."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nmt.command import run_command
from nmt.config import Direction, TranslateConfig, find_direction
from nmt.corpus.lines import read_lines
from nmt.errors import InputError
from nmt.files import replacing

if TYPE_CHECKING:
    from nmt.decoding.translation import Translation
    from nmt.decoding.translator import Translator


def main() -> None:
    """The console script."""
    run_command("nmt-translate", TranslateConfig, translate, "translate")


def translate(config: TranslateConfig) -> None:
    """Translate the input, a buffer of lines at a time, and write each line as soon as it is ready.

    Raises:
        InputError: the input is not UTF-8, the output cannot be written, or the model does not
            translate between these languages.
        CorpusError: the input file is missing or damaged.
    """
    # Imported only here because torch takes a second to import, and `--help` needs none.
    from nmt.decoding.translator import Translator

    chosen = config.translator
    lines = read_lines(config.input) if config.input is not None else stdin_lines(sys.stdin.buffer)
    translator = Translator.from_settings(chosen.folder, chosen, config.decode)
    direction = find_direction(translator.directions, config.source, config.target)
    with opened(config.output) as output:
        write(translated(translator, direction, lines, config), output)


def translated(
    translator: Translator, direction: Direction, lines: Iterable[str], config: TranslateConfig
) -> Iterator[str]:
    """The lines of the output in the configured format."""
    source, target = direction.source, direction.target
    if config.input_format == "html":
        document = "\n".join(lines)
        yield from translator.translate_texts([document], "html", source=source, target=target)
    elif config.input_format == "sentences":
        remaining = iter(lines)
        while texts := list(islice(remaining, config.buffer)):
            yield from translator.translate_texts(texts, source=source, target=target)
    else:
        jsonl = config.output_format == "jsonl"
        for translation in translator.translate_stream(
            lines, config.buffer, source=source, target=target, alignments=jsonl
        ):
            yield as_json(translation) if jsonl else translation.text


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


@contextmanager
def opened(path: str | None) -> Iterator[BinaryIO]:
    """The output file, which appears when it is complete, or stdout.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    target = Path(path)
    if target.exists() and not target.is_file():  # such as /dev/null or a named pipe
        with _open(target, path) as file:
            yield file
        return
    # Written under another name until it is complete, since the input may be the same file, or turn
    # out to be damaged.
    with replacing(target) as unfinished, _open(unfinished, path) as file:
        yield file


def _open(file: Path, path: str) -> BinaryIO:
    try:
        return file.open("wb")
    except OSError as error:
        raise InputError(
            f"`output` must be a file that can be written, but `{path}` gives "
            f"“{error.strerror}” instead; correct the path or its permissions."
        ) from None


def write(lines: Iterable[str], output: BinaryIO) -> None:
    """Write and flush each line, so that the reader of a pipe need not wait for the next one."""
    for line in lines:
        output.write(line.encode("utf-8") + b"\n")
        output.flush()


if __name__ == "__main__":
    main()
