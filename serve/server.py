"""uvicorn as this project runs it: quiet, on a socket that was taken before, and draining at its
end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from math import ceil
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from nmt.config import ServeConfig
from nmt.errors import NmtError
from serve.models import Models
from serve.service import Service

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Loads its models while it answers already that it is not ready."""

    def __init__(
        self, config: uvicorn.Config, service: Service, load: Callable[[], Models], greeting: str
    ) -> None:
        super().__init__(config)
        self._service, self._load, self._greeting = service, load, greeting
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()
        self.failure: BaseException | None = None  # why it could not start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and to load."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._reload()))
        self._start(self._begin())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self) -> None:
        try:
            async with self._loading:
                self._service.use(await run_in_threadpool(self._load))
        except BaseException as error:
            self.failure = error
            self.should_exit = True
        else:
            # What is there now stays: looking through it for garbage takes 0.2 s each time.
            gc.collect()
            gc.freeze()
            # Whoever started it may wait for this line.
            print(self._greeting, flush=True)

    async def _reload(self) -> None:
        """SIGHUP: the folders are read again, one time after the other. What runs goes on with the
        models that it has."""
        try:
            async with self._loading:
                self._service.use(await run_in_threadpool(self._load))
        except NmtError as error:
            logger.error("the models stay as they are: %s", error)
        except Exception:
            logger.exception("the models stay as they are")
        else:
            logger.info("the models were loaded again")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: from now on translations are refused; what was accepted is finished,
        and then the server ends. A second one ends at once."""
        if self._service.draining:
            super().handle_exit(sig, frame)
        self._service.draining = True
        self._captured_signals.append(sig)  # raised again at the end, as without draining

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        if self._service.draining and self._service.batch.idle:
            self.should_exit = True
        if self._service.batch.failure is not None:
            self.failure = self._service.batch.failure
            self.should_exit = True
        return await super().on_tick(counter)


def run(
    app: Starlette,
    listener: socket.socket,
    config: ServeConfig,
    load: Callable[[], Models],
    greeting: str,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        NmtError: what `load` raised.
    """
    settings = uvicorn.Config(
        app,
        log_config=None,  # log as all commands do
        log_level="warning",
        access_log=False,  # it has query strings, and those may hold texts
        lifespan="on",
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=config.proxies,
        # Clients that do not read their answers are not waited for.
        timeout_graceful_shutdown=ceil(config.limits.deadline_seconds) + 5,
    )
    server = Server(settings, app.state.service, load, greeting)
    server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
