"""What all commands share, tried on nmt-translate's settings."""

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch

from nmt.command import FULL_ERROR, compose_values, run_command
from nmt.config import ExportConfig, ServeConfig, TrainConfig, TranslateConfig
from nmt.config.paths import configuration_folder
from nmt.errors import ConfigurationError, CorpusError

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FULL_ERROR, "0")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with arguments → its exit code."""

    def run_it(main: Callable[[TranslateConfig], None], *arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["nmt-try", *arguments])
        try:
            run_command("nmt-try", TranslateConfig, main, "translate")
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    return run_it


def test_the_settings_arrive_with_the_overrides(run: Run, tmp_path: Path) -> None:
    seen: list[TranslateConfig] = []
    assert run(seen.append, "translator.folder=x", "decode=greedy", "buffer=7") == 0
    assert (seen[0].translator.folder, seen[0].decode.beam_size, seen[0].buffer) == ("x", 1, 7)
    assert list(tmp_path.iterdir()) == []  # hydra leaves nothing behind
    assert Path.cwd() == tmp_path


def test_own_configuration_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own" / "decode").mkdir(parents=True)
    values = (configuration_folder() / "decode" / "beam5.yaml").read_text("utf-8")
    own = tmp_path / "own" / "decode" / "mine.yaml"
    own.write_text(values.replace("beam_size: 5", "beam_size: 9"), "utf-8")
    seen: list[TranslateConfig] = []
    assert run(seen.append, "--config-dir", "own", "translator.folder=x", "decode=mine") == 0
    assert seen[0].decode.beam_size == 9


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["translator.folder=x", "buffer=0"], ["`buffer` must be at least 1, but is 0 instead."]),
        (
            ["translator.folder=x", "buffer=0", "decode.beam_size=no"],
            ["`decode.beam_size` must be", "`buffer` must be at least 1"],
        ),
        ([], ["`translator.folder` must be set, but is missing; add `translator.folder=…`."]),
        (
            ["translator.folder=x", "bufer=1"],
            ["`bufer` is not a setting of nmt-try; did you mean `buffer`?"],
        ),
        (["translator.folder=x", "+bufer=1"], ["`bufer` is not a setting"]),
        (["data"], ["`data` cannot be read as `setting=value`."]),
        (["translator.folder=x", "decode=zzz"], ["Could not find 'decode/zzz'", "beam5 greedy"]),
        (["-cn", "zzz"], ["Cannot find primary config 'zzz'"]),
        (["a=["], ["`a=[` cannot be read as `setting=value`", "quotes"]),
        (["translator.folder=${oc.env:NMT_NOT_SET}"], ["environment variable NMT_NOT_SET"]),
        (["translator.folder=${nothing}"], ["`translator.folder` must have a value"]),
    ],
)
def test_mistakes_are_sentences(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], sentences: list[str]
) -> None:
    assert run(lambda _: None, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert all(line.startswith("nmt-try: error: ") for line in lines)
    assert "Traceback" not in printed.err
    assert "Config search path" not in printed.err
    for sentence in sentences:
        assert sentence in printed.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["parallel.stages=2"],
            "`parallel.stages` is not a setting of `parallel=local`; use `parallel=auto`, "
            "`parallel=deepspeed` or `parallel=wavefront`, or remove it.",
        ),
        (
            ["parallel=wavefront", "parallel.zero=1"],
            "`parallel.zero` is not a setting of `parallel=wavefront`; use `parallel=deepspeed`, "
            "or remove it.",
        ),
        (
            ["parallel.stagse=2"],
            "`parallel.stagse` is not a setting of nmt-train; did you mean `parallel.stages`?",
        ),
    ],
)
def test_a_setting_of_another_executor(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["nmt-train", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command("nmt-train", TrainConfig, lambda _: None, "train")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"nmt-train: error: {sentence}")


def test_an_unset_variable_of_a_corpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NMT_CORPORA", raising=False)
    monkeypatch.setattr("sys.argv", ["nmt-train", "data=multi30k"])
    with pytest.raises(SystemExit) as stopped:
        run_command("nmt-train", TrainConfig, lambda _: None, "train")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "nmt-train: error: `data.train.multi30k.source[0]` needs the environment variable "
        "NMT_CORPORA, but it is not set; set it first, as in "
        "`export NMT_CORPORA=/path/to/folder`.\n"
    )


def test_errors_of_the_command_itself(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: TranslateConfig) -> None:
        raise CorpusError("`x` must be a file, but is not.")

    assert run(fail, "translator.folder=x") == 2
    assert capsys.readouterr().err == "nmt-try: error: `x` must be a file, but is not.\n"


def test_errors_of_the_system(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda _: Path("/dev/null/x").mkdir(), "translator.folder=x") == 2
    assert capsys.readouterr().err == (
        "nmt-try: error: The system refused `/dev/null/x`: Not a directory; correct the path, "
        "or make room.\n"
    )


def test_several_mistakes_have_a_line_each(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: TranslateConfig) -> None:
        raise ConfigurationError(["One.", "Two."])

    assert run(fail, "translator.folder=x") == 2
    assert capsys.readouterr().err == "nmt-try: error: One.\nnmt-try: error: Two.\n"


def test_interrupted(run: Run) -> None:
    def interrupt(_: TranslateConfig) -> None:
        raise KeyboardInterrupt

    assert run(interrupt, "translator.folder=x") == 130


def test_bugs_are_not_hidden(run: Run) -> None:
    def bug(_: TranslateConfig) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(bug, "translator.folder=x")


def test_help_names_the_command_and_its_settings(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda _: None, "--help") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("nmt-translate: translate lines of stdin or a file.\n")
    assert "  decode=beam5\n        The search for a translation.\n" in printed
    assert "Files: beam5, greedy." in printed
    assert "  translator.folder=???\n        Model folder, such as runs/demo/best.\n" in printed


def test_a_reader_that_has_seen_enough_of_the_help() -> None:
    code = "from nmt.translate import main; main()"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} --help | head -1"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "nmt-translate: translate lines of stdin or a file.\n"
    assert done.stderr == ""


def test_help_lists_groups_of_the_users_own(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "own" / "decode").mkdir(parents=True)
    (tmp_path / "own" / "decode" / "mine.yaml").write_text("beam_size: 9\n", "utf-8")
    for option in (["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"]):
        assert run(lambda _: None, *option, "-h") == 0
        assert "Files: beam5, greedy, mine." in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "1e3",
        "true",
        "a=b",
        "a,b",
        "[a]",
        "é.en",
        "a b",
        "it's",
        "{x}",
        "(",
        "a\\",
        "0x1",
        "日本",
    ],
)
def test_names_and_paths_are_what_was_typed(run: Run, text: str) -> None:
    seen: list[TranslateConfig] = []
    assert run(seen.append, f"translator.folder={text}", f"input={text}", f"+output={text}") == 0
    (found,) = seen
    assert (found.translator.folder, found.input, found.output) == (text, text, text)


@pytest.mark.parametrize("typed", ["'a,b'", '"a,b"', "null", "${oc.env:TYPED}"])
def test_hydras_own_forms_of_text_stay(
    run: Run, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYPED", "a,b")
    seen: list[TranslateConfig] = []
    assert run(seen.append, "translator.folder=x", f"input={typed}") == 0
    assert seen[0].input == (None if typed == "null" else "a,b")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["name=1,2", "-m"], ["1", "2"]),
        (["name=a=b,é", "-m"], ["a=b", "é"]),
        (["name='a,b'", "-m"], ["a,b"]),
        (["-m", "name=choice(a,b)"], ["a", "b"]),
    ],
)
def test_names_in_a_sweep(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], names: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nmt-train", *arguments])
    seen: list[TrainConfig] = []
    run_command("nmt-train", TrainConfig, seen.append, "train")
    assert [config.name for config in seen] == names


def test_a_list_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nmt-serve", "models=[a=b,é]"])
    with pytest.raises(SystemExit) as stopped:
        run_command("nmt-serve", ServeConfig, lambda _: None, "serve")
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("nmt-serve: error: `models=[a=b,é]` cannot be read")
    assert "as in \"models='…'\"" in printed


@pytest.mark.parametrize("option", [["--info"], ["--cfg"], ["-i"], ["-c", "translator.folder=x"]])
def test_options_may_stand_without_their_value(run: Run, option: list[str]) -> None:
    assert run(lambda _: None, *option) == 0


def test_the_sample_is_found_from_any_folder() -> None:
    values = compose_values("train")
    files = values["data"]["train"]["sample"]["source"]
    assert [Path(file).name for file in files] == ["train.en"]
    assert all(Path(file).is_absolute() for file in files)
    assert all(Path(file).is_file() for file in files)


def test_a_corpus_given_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["train.files.source=a.tsv", "train.files.columns=[2,1]", "valid.valid.source=1"]
    given = [f"data.{one}" for one in [*files, "valid.valid.target=x,y.de", "direction=en-de"]]
    monkeypatch.setattr("sys.argv", ["nmt-train", "data=files", *given])
    seen: list[TrainConfig] = []
    run_command("nmt-train", TrainConfig, seen.append, "train")
    data = seen[0].data
    assert data.test == {}
    train, valid = data.train["files"], data.valid["valid"]
    assert (train.source, train.target, train.columns) == (["a.tsv"], ["a.tsv"], [2, 1])
    assert (valid.source, valid.target, valid.columns) == (["1"], ["x,y.de"], None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["translator.folder=x", "--cfg", "job"],
        ["--cfg", "job", "translator.folder=x", "buffer=3"],
    ],
)
def test_options_may_stand_on_either_side(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(lambda _: None, *arguments) == 0
    assert "folder: x" in capsys.readouterr().out


def test_the_environment_stays_as_it_was(run: Run) -> None:
    run(lambda _: None, "translator.folder=x")
    assert os.environ[FULL_ERROR] == "0"


@pytest.mark.parametrize("given", ["data=null", "+data=null"])
def test_a_group_that_is_left_out_anyway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setattr("sys.argv", ["nmt-export", "folder=x", "output=y", given])
    seen: list[ExportConfig] = []
    run_command("nmt-export", ExportConfig, seen.append, "export")
    assert seen[0].data is None
    monkeypatch.setattr("sys.argv", ["nmt-train", "data=null"])
    with pytest.raises(SystemExit):
        run_command("nmt-train", TrainConfig, lambda _: None, "train")
    assert "`data` must be the name of a group (base, " in capsys.readouterr().err


def test_logging_is_set_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[bool] = []
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    run(
        lambda _: enabled.append(logging.getLogger("nmt").isEnabledFor(logging.INFO)),
        "translator.folder=x",
    )
    assert enabled == [True]


@pytest.mark.parametrize("value", ["[1,2]", "1.5", "{a: 1}", "7", "''", "nan", "true", "x,inf"])
@pytest.mark.parametrize("module", ["train", "export", "place"])
def test_a_group_that_is_no_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, value: str
) -> None:
    monkeypatch.setattr("sys.argv", [f"nmt-{module}", f"data={value}"])
    with pytest.raises(SystemExit) as stopped:
        import_module(f"nmt.{module}").main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nmt-{module}: error: `data` must be the name of a group (base, ")
    assert error.endswith(f"but is {value!r} instead.\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 19.8 TiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore."),
    ],
)
def test_too_little_memory(run: Run, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def fail(_: TranslateConfig) -> None:
        raise error

    assert run(fail, "translator.folder=x") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nmt-try: error: There is not enough memory (")
    assert line.endswith("; use a smaller model, batch or beam, or another machine.")


def test_a_mistake_in_code_is_raised(run: Run) -> None:
    def fail(_: TranslateConfig) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        run(fail, "translator.folder=x")
