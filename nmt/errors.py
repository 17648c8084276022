"""Errors that a user can cause. The message of each is a sentence that says what is required, what
was found instead, and what to do. Commands print it and exit with 2; the server answers with a
status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class NmtError(Exception):
    """Base class of errors that a user can cause; the message is written for them."""


class ConfigurationError(NmtError):
    """One or more settings are wrong; `mistakes` has a sentence for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[list[str]]]:
        # By default, exceptions are pickled with their message as the argument.
        return type(self), (self.mistakes,)


class CorpusError(NmtError):
    """A corpus file is missing, damaged, empty or not parallel; names the file and the line."""


class ModelFolderError(NmtError):
    """A model folder lacks a file, or has one that does not fit the others."""


class CheckpointError(NmtError):
    """A checkpoint cannot be read or belongs to another run."""


class StorageError(NmtError):
    """A file or folder cannot be written or read, as the system says."""


class TrainingError(NmtError):
    """Training cannot continue."""


class StoppedError(NmtError):
    """Training was stopped by a signal, and what it had done is saved."""

    def __init__(self, message: str, number: int) -> None:
        self.number = number  # of the signal
        super().__init__(message)

    def __reduce__(self) -> tuple[type[StoppedError], tuple[str, int]]:
        return type(self), (str(self), self.number)


class PlanError(NmtError):
    """A plan does not fit its graph, or cannot be run."""


class WorkerError(NmtError):
    """A process of a parallel run failed; the others were stopped."""


class ConnectionLostError(WorkerError):
    """A process of a parallel run cannot reach the others, or no longer."""


class OutOfMemoryError(NmtError):
    """The machine or the GPU has too little memory for what was asked."""


class RuleError(NmtError):
    """A text is not an update rule, or one that cannot be trained with."""


class InputError(NmtError):
    """A text, a file or a request cannot be translated or scored."""


# What PyTorch's errors say when there is no more memory, on a CPU and on a GPU.
NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


def error_of_ours(error: Exception) -> NmtError | None:
    """An error that a user can cause as one of ours; None for others, such as mistakes in code."""
    if isinstance(error, NmtError):
        return error
    if isinstance(error, OSError):
        return None if error.errno is None else _system_error(error)
    text = str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in NO_MEMORY)
    ):
        return OutOfMemoryError(
            f"There is not enough memory ({text.strip().splitlines()[0] if text else 'no more'}); "
            "use a smaller model, batch or beam, or another machine."
        )
    return None


def _system_error(error: OSError) -> StorageError:
    """An error of the system, such as a full disk or a missing permission, as one of ours."""
    where = f" `{error.filename}`" if error.filename is not None else ""
    return StorageError(
        f"The system refused{where}: {error.strerror}; correct the path, or make room."
    )


def error_as_data(error: NmtError) -> dict[str, Any]:
    """An error as plain values that can be sent to another process."""
    messages = error.mistakes if isinstance(error, ConfigurationError) else [str(error)]
    data: dict[str, Any] = {"type": type(error).__name__, "messages": messages}
    return {**data, "number": error.number} if isinstance(error, StoppedError) else data


def error_from_data(data: Mapping[str, Any]) -> NmtError:
    """The inverse of `error_as_data`."""
    messages = [str(message) for message in data["messages"]]
    kind = globals().get(data["type"], NmtError)
    if kind is ConfigurationError:
        return ConfigurationError(messages)
    if kind is StoppedError:
        return StoppedError("\n".join(messages), int(data["number"]))
    assert isinstance(kind, type), f"{kind} is not a class"
    assert issubclass(kind, NmtError), f"{kind} is not an NmtError"
    return kind("\n".join(messages))
