"""uvicorn as this project runs it: quiet, on a socket that is already bound, and draining at
shutdown."""

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
    """Loads its models while it already answers health checks."""

    def __init__(
        self, config: uvicorn.Config, service: Service, load: Callable[[], Models], greeting: str
    ) -> None:
        super().__init__(config)
        self._service, self._load, self._greeting = service, load, greeting
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()
        self.failure: BaseException | None = None  # why it could not start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and to load the models."""
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
            # Everything allocated so far stays; each garbage collection of it would take 0.2 s.
            gc.collect()
            gc.freeze()
            # Scripts that start the server may wait for this line.
            print(self._greeting, flush=True)

    async def _reload(self) -> None:
        """SIGHUP: read the model folders again, one reload at a time. Running requests keep the
        models that they began with."""
        try:
            async with self._loading:
                self._service.use(await run_in_threadpool(self._load))
        except NmtError as error:
            logger.error("reloading failed, the old models stay: %s", error)
        except Exception:
            logger.exception("reloading failed, the old models stay")
        else:
            logger.info("the models have been reloaded")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: refuse new translations, finish the accepted ones, then shut down. A
        second signal shuts down at once."""
        if self._service.draining:
            super().handle_exit(sig, frame)
        self._service.draining = True
        self._captured_signals.append(sig)  # uvicorn raises it again at the end

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second → whether to shut down."""
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
        log_config=None,  # the commands' logging is used
        log_level="warning",
        access_log=False,  # it would contain query strings, which may contain texts
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
