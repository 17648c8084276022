"""`nmt-serve`: the translation server's command."""

from __future__ import annotations

import signal
import socket
import sys
from functools import partial
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

from nmt.command import run_command
from nmt.config import ServeConfig
from nmt.errors import ConfigurationError


def main() -> None:
    """The console script."""
    run_command("nmt-serve", ServeConfig, serve, "serve")


def serve(config: ServeConfig) -> None:
    """Load the models and answer requests until SIGTERM or Ctrl-C; running requests are finished.

    Raises:
        ConfigurationError: the address cannot be listened on, the keys cannot be read, or the extra
            `serve` is missing.
        ModelFolderError, PlanError, InputError: a model cannot be loaded.
    """
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are models to reload
    require_extra()
    with bind(config.host, config.port) as listener:
        from serve.app import create_app
        from serve.models import Models
        from serve.server import run

        if config.log == "json":
            from serve.logs import use_json

            use_json()
        app = create_app(None, config)
        host, port = start_listening(listener, config)
        load = partial(
            Models.load,
            config.models,
            config.translator,
            config.decode,
            config.limits.segment_tokens,
        )
        greeting = f"Serving {', '.join(config.models)} at http://{host}:{port}"
        run(app, listener, config, load, greeting)


def bind(host: str, port: int) -> socket.socket:
    """Bind the address before the models are loaded, so that mistakes show at once.

    Raises:
        ConfigurationError: the address is in use, not of this machine, or not permitted.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, ValueError) as error:  # a name that is none is a ValueError
        raise _cannot_listen(host, port, error) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from None
    return listener


def start_listening(listener: socket.socket, config: ServeConfig) -> tuple[str, int]:
    """Accept connections → host and port as written in a URL.

    Raises:
        ConfigurationError: another server bound the address too, and listened first.
    """
    try:
        listener.listen()
    except OSError as error:
        raise _cannot_listen(config.host, config.port, error) from None
    host, port = listener.getsockname()[:2]
    return (f"[{host}]" if ":" in host else host), port


def require_extra() -> None:
    """Raise ConfigurationError if the extra `serve` is not installed."""
    for package in ("starlette", "uvicorn", "prometheus_client", "py3langid", "langcodes"):
        if find_spec(package) is None:
            raise ConfigurationError(
                [
                    f"nmt-serve needs the package {package}, but it is not installed; "
                    "get it with `pip install 'pipeline-nmt[serve]'`."
                ]
            )


def _cannot_listen(host: str, port: int, error: Exception) -> ConfigurationError:
    reason = error.strerror if isinstance(error, OSError) else "not a host name"
    return ConfigurationError(
        [
            f"`host` and `port` must be an address to listen on, but {host} port {port} gives "
            f"“{reason}” instead; choose another, such as `port=0` for any free one."
        ]
    )


def _exit(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """SIGTERM is the usual way to stop a server, and no failure. While uvicorn runs it handles the
    signal itself, and raises it again when it has shut down."""
    sys.exit(0)


if __name__ == "__main__":
    main()
