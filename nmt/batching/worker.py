"""The process that `nmt.batching.process` starts: `python -m nmt.batching.worker <socket>`.

It ends when the other side is gone, whatever the reason.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from nmt.config import DecodeConfig, UseConfig, read
from nmt.decoding.engine import Engine, Hypothesis, Request
from nmt.decoding.translator import Translator
from nmt.errors import NmtError, error_as_data
from nmt.memory import keep_memory, spare_loaded_objects

Kind = tuple[int, str, bool]  # model, settings of the search, alignments


class Worker:
    """The models and engines of the process."""

    def __init__(self) -> None:
        self._translators: list[Translator] = []
        self._engines: dict[int, Engine] = {}
        self._last: dict[Kind, int] = {}  # the latest engine of each kind
        self._failed: dict[int, str] = {}  # traceback of each engine that has failed

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Carry out a message → its reply, if it has one."""
        match message["do"]:
            case "load":
                return self._load(message)
            case "engine":
                self._make(message)
            case "admit":
                some = [Request(*values) for values in message["requests"]]
                self._attempt(message["engine"], lambda engine: engine.admit(some))
            case "cancel":
                self._attempt(message["engine"], lambda engine: engine.cancel(message["request"]))
            case "step":
                return self._step(message["engine"])
        return None

    def _load(self, message: dict[str, Any]) -> dict[str, Any]:
        use, decode = read(UseConfig, message["use"]), read(DecodeConfig, message["decode"])
        try:
            for folder in message["folders"]:
                self._translators.append(Translator.from_settings(folder, use, decode))
        except NmtError as error:
            return {"error": error_as_data(error)}
        gc.collect()
        spare_loaded_objects()
        return {"precisions": [one.precision for one in self._translators]}

    def _make(self, message: dict[str, Any]) -> None:
        number, model, alignments = message["engine"], message["model"], message["alignments"]
        kind = model, json.dumps(message["decode"]), alignments
        before = self._last.get(kind)
        if before is not None:
            self._engines.pop(before, None)
            self._failed.pop(before, None)
        self._last[kind] = number
        decode = read(DecodeConfig, message["decode"])
        self._engines[number] = self._translators[model].engine(decode, alignments)

    def _attempt(self, number: int, do: Any) -> None:
        engine = self._engines.get(number)
        if engine is None or number in self._failed:
            return
        try:
            do(engine)
        except Exception:
            self._failed[number] = traceback.format_exc()

    def _step(self, number: int) -> dict[str, Any]:
        reply: dict[str, Any] = {"engine": number, "finished": [], "admission": 0.0}

        def step(engine: Engine) -> None:
            for one in engine.step():
                reply["finished"].append([one.id, list(map(_values, one.hypotheses))])
            reply["admission"] = engine.admission_seconds

        self._attempt(number, step)
        if number in self._failed:
            return {"engine": number, "error": self._failed[number]}
        return reply


def _values(one: Hypothesis) -> list[Any]:
    alignment = None if one.alignment is None else one.alignment.tolist()
    return [one.pieces, one.score, one.log_probability, one.truncated, alignment]


def main() -> None:
    """Answer messages until the other end is closed."""
    # Signals are for the server, which may still have to finish requests.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep_memory()
    connection, worker = Connection(int(sys.argv[1])), Worker()
    try:
        while True:
            reply = worker.answer(json.loads(connection.recv_bytes()))
            if reply is not None:
                connection.send_bytes(json.dumps(reply).encode())
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main()
