"""Models in a process of their own, so that decoding does not share an interpreter with requests.

A decoding step is a few hundred small operations, each of which releases the interpreter's lock and
has to acquire it again; next to threads that run Python code, the model would stand still for as
long as they run. The process holds the models and the engines (`nmt.batching.worker`); this side
holds the vocabularies. Two steps are always requested ahead, so that the process does not wait for
this side between steps (with one, a server reached 0.90 and 0.93 of the offline speed for requests
of 16 sentences; with two, 0.95 in both of two runs). Sentences admitted meanwhile join after them.

Messages are JSON over a socket pair; the key `do` is one of:

    load     folders, use, decode → precisions, or error
    engine   engine, model, decode, alignments: a new engine; it replaces the last of its kind
    admit    engine, requests
    cancel   engine, request
    step     engine → finished, and the seconds of the last admission; or error
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from nmt.config import DecodeConfig, UseConfig
from nmt.corpus.vocabulary import Vocabulary
from nmt.decoding.engine import Finished, Hypothesis, Request
from nmt.decoding.translation import TextCodec, load_vocabulary
from nmt.errors import WorkerError, error_from_data
from nmt.model.folder import ModelDescription, read_description

AHEAD = 2  # steps that are requested before they are needed
GRACE = 5.0  # seconds for the process to end by itself


class EngineError(RuntimeError):
    """A step failed in the models' process; the message has its traceback."""


class ModelProcess:
    """A process with loaded model folders. It ends when this object is garbage-collected. Not
    thread-safe."""

    def __init__(self, folders: Sequence[str], use: UseConfig, decode: DecodeConfig) -> None:
        """Start the process, and wait until all models are loaded.

        Raises:
            As `Translator.load` does.
            WorkerError: the process ended.
        """
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            number = theirs.fileno()
            # A session of its own: Ctrl-C is for the server, which still finishes its requests.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nmt.batching.worker", str(number)],
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
            )
        ending = weakref.finalize(self, _end, self._process, self._connection)
        # When this interpreter ends, so does the connection, and with it the process.
        ending.atexit = False
        self._replies: dict[int, deque[Any]] = {}  # by engine; replies that were read ahead
        self._engines = 0
        self.send(
            do="load",
            folders=list(folders),
            use=use.model_dump(mode="json"),
            decode=decode.model_dump(mode="json"),
        )
        found = self._read()
        if "error" in found:
            raise error_from_data(found["error"])
        self.precisions: list[str] = found["precisions"]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def new_engine(self, model: int, decode: DecodeConfig, alignments: bool) -> int:
        """Create an engine for one of the models → its number."""
        self._engines += 1
        self._replies[self._engines] = deque()
        values = decode.model_dump(mode="json")
        self.send(
            do="engine", engine=self._engines, model=model, decode=values, alignments=alignments
        )
        return self._engines

    def forget_engine(self, engine: int) -> None:
        """Discard all further replies of an engine."""
        self._replies.pop(engine, None)

    def send(self, **message: Any) -> None:
        """Send a message; raises WorkerError if the process has ended."""
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError:
            raise self._lost() from None

    def reply(self, engine: int) -> Any:
        """Wait for the next reply of an engine.

        Raises:
            WorkerError: the process has ended.
        """
        while not self._replies[engine]:
            found = self._read()
            if found["engine"] in self._replies:
                self._replies[found["engine"]].append(found)
        return self._replies[engine].popleft()

    def _read(self) -> Any:
        try:
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._lost() from None

    def _lost(self) -> WorkerError:
        code = self._process.wait(GRACE)
        memory = " (out of memory?)" if code == -9 else ""
        how = f"was killed by signal {-code}{memory}" if code < 0 else f"ended with code {code}"
        return WorkerError(f"The process of the models must run, but {how}; see the log.")


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """The process ends by itself when the connection is closed. Waiting for that is left to a
    thread, since this may run in a server's event loop."""
    connection.close()
    threading.Thread(target=_wait, args=(process,), name="ending models").start()


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class RemoteModel(TextCodec):
    """A model in such a process, with the interface that running batches need of a `Translator`."""

    def __init__(
        self,
        description: ModelDescription,
        vocabulary: Vocabulary,
        process: ModelProcess,
        place: int,
    ) -> None:
        """See `load_models`."""
        super().__init__(description, vocabulary)
        self._process, self._place = process, place
        self.precision = process.precisions[place]

    def engine(self, decode: DecodeConfig, alignments: bool) -> RemoteEngine:
        """A new engine with these settings. It replaces the model's last engine of its kind."""
        return RemoteEngine(self._process, self._place, decode, alignments)


def load_models(folders: Sequence[str], use: UseConfig, decode: DecodeConfig) -> list[RemoteModel]:
    """Read model folders, all in one process of their own.

    Raises:
        As `Translator.load` does.
        WorkerError: the process ended.
    """
    descriptions = [read_description(Path(folder)) for folder in folders]
    process = ModelProcess(folders, use, decode)
    return [
        RemoteModel(one, load_vocabulary(Path(folder), one), process, place)
        for place, (folder, one) in enumerate(zip(folders, descriptions, strict=True))
    ]


class RemoteEngine:
    """An `Engine` in the process. Admitted sentences join it up to AHEAD steps later."""

    def __init__(
        self, process: ModelProcess, model: int, decode: DecodeConfig, alignments: bool
    ) -> None:
        self._process = process
        self._number = process.new_engine(model, decode, alignments)
        weakref.finalize(self, process.forget_engine, self._number)
        self._lengths: dict[int, int] = {}  # of the sentences in the batch, by id
        self._asked = 0  # steps requested and not yet answered
        self.admission_seconds = 0.0  # of the last admission
        self._useless = 0  # the first of these, which were requested for an empty batch

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def longest_source(self) -> int:
        """Positions of the longest source in the batch, its end included."""
        return max(self._lengths.values(), default=0)

    def admit(self, requests: Sequence[Request]) -> None:
        """Add sentences to the batch. Failures are reported by the next step.

        Raises:
            WorkerError: the process has ended.
        """
        values = []
        for one in requests:
            assert isinstance(one.id, int), "ids are numbers here"
            self._lengths[one.id] = len(one.source) + 1
            values.append([one.id, list(one.source), one.n_best, one.longest])
        if values:
            self._process.send(do="admit", engine=self._number, requests=values)

    def cancel(self, request_id: int) -> bool:
        """Remove a sentence from the batch; false if it is not in it."""
        if self._lengths.pop(request_id, None) is None:
            return False
        self._process.send(do="cancel", engine=self._number, request=request_id)
        return True

    def step(self) -> list[Finished]:
        """Wait for a step → the finished sentences, which have left the batch.

        Raises:
            EngineError: it failed; the engine cannot be used any more.
            WorkerError: the process has ended.
        """
        if not self._lengths:
            return []
        while self._asked - self._useless < AHEAD:
            self._process.send(do="step", engine=self._number)
            self._asked += 1
        while self._useless:
            self._process.reply(self._number)
            self._useless -= 1
            self._asked -= 1
        reply = self._process.reply(self._number)
        self._asked -= 1
        if "error" in reply:
            raise EngineError(reply["error"])
        self.admission_seconds = reply["admission"]
        finished = [
            Finished(number, list(map(_hypothesis, hypotheses)))
            for number, hypotheses in reply["finished"]
            if self._lengths.pop(number, None) is not None  # or it has been cancelled
        ]
        if not self._lengths:
            self._useless = self._asked
        return finished


def _hypothesis(values: Sequence[Any]) -> Hypothesis:
    pieces, score, log_probability, truncated, alignment = values
    return Hypothesis(
        pieces,
        score,
        log_probability,
        truncated,
        None if alignment is None else torch.tensor(alignment, dtype=torch.float32),
    )
