"""nmt-translate as a user meets it: a process with files and pipes."""

import gzip
import html
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt.decoding import Translator
from nmt.errors import InputError
from nmt.output_file import Output
from nmt.translate import main, stdin_lines

SOURCE = ["A man is sleeping.", "", "Two dogs play with a red ball.", "  ", "The woman reads."]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def command(tiny_model_folder: Path, tmp_path: Path) -> Command:
    """Run the command in an empty folder."""

    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "nmt.translate", *(as_arguments(tiny_model_folder)), *arguments],
            input=given,
            capture_output=True,
            cwd=tmp_path,
            env=environment(),
            check=False,
        )

    return run


def as_arguments(folder: Path) -> list[str]:
    return [f"translator.folder={folder}", "translator.device=cpu", "translator.threads=1"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def piped(folder: Path, place: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """The command, between pipes of ours."""
    return subprocess.Popen(
        [sys.executable, "-m", "nmt.translate", *as_arguments(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=place,
        env=environment(),
    )


def as_lines(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


@pytest.fixture(scope="module")
def expected(tiny_model_folder: Path) -> list[str]:
    translator = Translator.load(tiny_model_folder, device="cpu")
    return [translation.text for translation in translator.translate(SOURCE)]


def test_stdin_to_stdout(command: Command, expected: list[str], tmp_path: Path) -> None:
    done = command("buffer=2", given=as_lines(SOURCE))
    assert (done.returncode, done.stdout, done.stderr) == (0, as_lines(expected), b"")
    assert list(tmp_path.iterdir()) == []  # no folders of hydra


@pytest.fixture
def main_exits(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> Callable[..., int]:
    """Run the command in this process, which is faster, with files only → its exit code."""

    def run(*arguments: str, given: bytes = b"") -> int:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        monkeypatch.setattr(
            "sys.argv", ["nmt-translate", *as_arguments(tiny_model_folder), *arguments]
        )
        try:
            main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    return run


def test_lines_of_several_sentences_and_documents(
    command: Command, tiny_model_folder: Path
) -> None:
    translator = Translator.load(tiny_model_folder, device="cpu")
    man, dogs = (one.text for one in translator.translate(["A man is sleeping.", "Two dogs."]))
    lines = ["A man is sleeping.  Two dogs.", "", "Two dogs. https://a.org/x"]
    done = command("input_format=sentences", given=as_lines(lines))
    assert done.stderr == b""
    found = done.stdout.decode().splitlines()
    assert found[:2] == [f"{man}  {dogs}", ""]
    assert "https://a.org/x" in found[2]
    document = "<p>Two dogs.</p>\n<hr>\n<p>A man is sleeping.</p>"
    done = command("input_format=html", given=document.encode())
    assert done.stdout.decode() == f"<p>{escape(dogs)}</p>\n<hr>\n<p>{escape(man)}</p>\n"


def escape(text: str) -> str:
    return html.escape(text, quote=False)


def test_file_to_file(main_exits: Callable[..., int], expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "in.gz").write_bytes(gzip.compress(as_lines(SOURCE)))
    wanted = ("source=en", "target=de", "output_format=jsonl", "decode.n_best=2")
    assert main_exits("input=in.gz", "output=out", *wanted) == 0
    lines = (tmp_path / "out").read_text("utf-8").split("\n")[:-1]
    values = [json.loads(line) for line in lines]
    assert [one["text"] for one in values] == expected
    assert len(values[0]["alternatives"]) == 1
    assert len(values[0]["alignment"]) == len(values[0]["tokens"])
    assert len(values[0]["alignment"][0]) == len(values[0]["source_tokens"])
    assert values[1] == {
        "text": "",
        "score": 0.0,
        "log_probability": 0.0,
        "tokens": [],
        "source_tokens": [],
        "alignment": [],
        "alternatives": [],
        "truncated": False,
        "parts": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        ([], b"A man.\nA \xff dog.\n", "line 2 is not valid UTF-8: it has byte 0xff at position 3"),
        (["input=none.txt"], b"", "`none.txt` must be a file, but does not exist"),
        (["output=no/folder"], b"A\n", "`output` must be a file that can be written"),
        (["translator.folder=none"], b"", "`none` must be a model folder"),
        (
            ["translator.plan=none.json", "translator.device=auto"],
            b"",
            "`none.json` must be a plan",
        ),
        (["translator.plan=no.json"], b"", "`device` must be auto with a `plan`"),
        (["decode.n_best=2"], b"", "`decode.n_best` must be 1 with output_format=text, but is 2"),
        (
            ["input_format=html", "output_format=jsonl"],
            b"",
            "`input_format` must be lines with `output_format=jsonl`, but is html instead.",
        ),
        (
            ["source=de", "target=en"],
            b"A\n",
            "`source` and `target` must be one of the model's directions (en→de), but are 'de' and "
            "'en' instead.",
        ),
        (["source=e_n"], b"", "`source` must be a language code of letters, digits and hyphens"),
        (["decode.n_best=6"], b"", "`n_best` must be at most `beam_size` (5)"),
    ],
)
def test_mistakes(
    main_exits: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    given: bytes,
    sentence: str,
) -> None:
    assert main_exits(*arguments, given=given) == 2
    error = capfd.readouterr().err
    assert error.startswith("nmt-translate: error: ")
    assert sentence in error
    assert error.count("\n") == 1


def test_a_file_can_be_translated_in_its_place(
    main_exits: Callable[..., int], expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(as_lines(SOURCE))
    assert main_exits("input=text", "output=text") == 0
    assert (tmp_path / "text").read_bytes() == as_lines(expected)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize(
    "content", [None, b"A man.\nA \xff dog.\n"], ids=["missing", "damaged in its last line"]
)
def test_a_mistake_in_the_input_leaves_the_output_as_it_was(
    main_exits: Callable[..., int], tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "out").write_text("precious")
    if content is not None:
        (tmp_path / "in").write_bytes(content)
    assert main_exits("input=in", "output=out", "buffer=1") == 2
    assert (tmp_path / "out").read_text() == "precious"
    # What was translated so far is kept, but under no hidden name.
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"in", "out", "out.partial", "out.partial.json"}


def test_an_output_that_is_no_file(main_exits: Callable[..., int]) -> None:
    assert main_exits("output=/dev/null", given=b"A man.\n") == 0


def test_lines_are_written_as_they_become_ready(
    tiny_model_folder: Path, tmp_path: Path, expected: list[str]
) -> None:
    with piped(tiny_model_folder, tmp_path, "buffer=1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for source, target in zip(SOURCE, expected, strict=True):
            process.stdin.write(as_lines([source]))
            process.stdin.flush()
            assert process.stdout.readline() == as_lines([target])
        process.stdin.close()
        assert process.wait() == 0


def test_a_reader_that_has_enough_is_no_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(as_lines(SOURCE * 200))
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "nmt.translate", *as_arguments(tiny_model_folder)),
            *("input=in", "buffer=1", "decode=greedy"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_slow_pipe_gets_its_lines_at_once(
    tiny_model_folder: Path, tmp_path: Path, expected: list[str]
) -> None:
    with piped(tiny_model_folder, tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(as_lines(SOURCE[:3]))
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(3)] == [
            as_lines([text]) for text in expected[:3]
        ]
        process.stdout.close()  # the reader has enough, while more may come
        process.stdin.write(as_lines(SOURCE))
        process.stdin.flush()
        assert process.wait(60) == 141


def test_gzip(main_exits: Callable[..., int], expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(as_lines(SOURCE))
    for name in ("a.gz", "b.gz"):
        assert main_exits("input=in", f"output={name}") == 0
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == as_lines(expected)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz", "in"]


def test_an_interrupted_command_resumes(
    main_exits: Callable[..., int],
    expected: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "in").write_bytes(as_lines(SOURCE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "write", interrupted_at(3))
        assert main_exits("input=in", "output=out") == 130
    partial = tmp_path / "out.partial"
    assert partial.read_bytes() == as_lines(expected[:3])
    partial.write_bytes(partial.read_bytes() + b"half a li")
    caplog.set_level("INFO")
    assert main_exits("input=in", "output=out") == 0
    assert "resuming behind line 3 of out.partial" in caplog.text
    assert "5 lines, " in caplog.text
    assert (tmp_path / "out").read_bytes() == as_lines(expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_another_command_begins_anew(
    main_exits: Callable[..., int], expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(as_lines(SOURCE[:1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "write", interrupted_at(1))
        assert main_exits("input=in", "output=out", "decode=greedy") == 130
    (tmp_path / "in").write_bytes(as_lines(SOURCE))
    assert main_exits("input=in", "output=out") == 0
    assert (tmp_path / "out").read_bytes() == as_lines(expected)


def interrupted_at(line: int) -> Callable[[Output, str], None]:
    """An interrupt behind that line."""
    write = Output.write

    def writing(output: Output, text: str) -> None:
        write(output, text)
        output.lines += 1
        if output.lines == line:
            raise KeyboardInterrupt

    return writing


def test_alignments_of_words(main_exits: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(as_lines(SOURCE))
    assert main_exits("input=in", "output=out", "output_format=pharaoh") == 0
    lines = (tmp_path / "out").read_text("utf-8").splitlines()
    assert lines[1] == " |||"
    for source, line in zip(SOURCE, lines, strict=True):
        translation, _, alignment = line.partition(" |||")
        words = len(source.split()), len(translation.split())
        for pair in alignment.split():
            at = tuple(map(int, pair.split("-")))
            assert at[0] < words[0]
            assert at[1] < words[1]


def test_long_lines_are_named(
    main_exits: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = "The big dog runs, and the woman reads. " * 40
    (tmp_path / "in").write_bytes(as_lines([SOURCE[0], long, SOURCE[2], long]))
    wanted = ("output_format=jsonl", "decode.max_source_tokens=30")
    assert main_exits("input=in", "output=out", *wanted) == 0
    assert caplog.messages[-1] == (
        "2 lines were too long for the model and were translated in parts "
        "(`decode.max_source_tokens`): 2, 4"
    )
    values = [json.loads(line) for line in (tmp_path / "out").read_text("utf-8").splitlines()]
    assert [one["parts"] > 1 for one in values] == [False, True, False, True]
    for one in values:
        shape = (len(one["alignment"]), len(one["alignment"][0]))
        assert shape == (len(one["tokens"]), len(one["source_tokens"]))


def test_only_newlines_end_lines() -> None:
    stream = io.BytesIO("a\u2028b\x0cc\r\n\nlast".encode())
    assert list(stdin_lines(stream)) == ["a\u2028b\x0cc", "", "last"]


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(InputError, match="stdin must be UTF-8, but line 1"):
        list(stdin_lines(io.BytesIO(b"\xc3(")))
