"""uvicorn as this project runs it: quiet, on a socket that was taken before."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette


class Server(uvicorn.Server):
    """Prints a line when requests are accepted: whoever started it may wait for that."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        print(self._greeting, flush=True)


def run(app: Starlette, listener: socket.socket, greeting: str) -> None:
    """Serve until SIGTERM or SIGINT; requests that are running then are finished first."""
    config = uvicorn.Config(
        app,
        log_config=None,  # log as all commands do
        log_level="warning",
        access_log=False,  # it has query strings, and those may hold texts
        lifespan="on",
        server_header=False,
    )
    Server(config, greeting).run(sockets=[listener])
