"""`nmt-serve`: the translation server's command."""

from __future__ import annotations

import signal
import socket
import sys
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from nmt.command import run_command
from nmt.config import ServeConfig
from nmt.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.applications import Starlette


def main() -> None:
    """The console script."""
    run_command("nmt-serve", ServeConfig, serve, "serve")


def serve(config: ServeConfig) -> None:
    """Load the model and answer requests until SIGTERM or Ctrl-C; running ones are finished first.

    Raises:
        ConfigurationError: the address cannot be listened on, or the extra `serve` is missing.
        ModelFolderError, PlanError, InputError: the model cannot be loaded.
    """
    signal.signal(signal.SIGTERM, _exit)
    require_extra()
    with bind(config.host, config.port) as listener:
        app = load_app(config)
        host, port = start_listening(listener, config)
        # importing it takes a second, which `--help` and mistakes need not wait for
        from serve.server import run

        run(app, listener, f"Serving {config.translator.folder} at http://{host}:{port}")


def bind(host: str, port: int) -> socket.socket:
    """Take the address before the model is loaded; connections are refused until it is.

    Raises:
        ConfigurationError: the address is in use, not this machine's, or not to be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
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
    """Accept connections. Host and port as they are written in a URL.

    Raises:
        ConfigurationError: another server took the address too, and listened to it first.
    """
    try:
        listener.listen()
    except OSError as error:
        raise _cannot_listen(config.host, config.port, error) from None
    host, port = listener.getsockname()[:2]
    return (f"[{host}]" if ":" in host else host), port


def load_app(config: ServeConfig) -> Starlette:
    """The application with its model."""
    from nmt.decoding import Translator
    from serve.app import create_app

    chosen = config.translator
    translator = Translator.load(
        chosen.folder,
        plan=chosen.plan,
        device=chosen.device,
        precision=chosen.precision.name,
        emulate=chosen.precision.emulate,
        threads=chosen.threads,
        decode=config.decode,
    )
    return create_app(translator, config)


def require_extra() -> None:
    """Raise ConfigurationError if the extra `serve` is not installed."""
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise ConfigurationError(
                [
                    f"nmt-serve needs the package {package}, but it is not installed; "
                    "get it with `pip install 'pipeline-nmt[serve]'`."
                ]
            )


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        [
            f"`host` and `port` must be an address to listen on, but {host} port {port} gives "
            f"“{error.strerror}” instead; choose another, such as `port=0` for any free one."
        ]
    )


def _exit(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """SIGTERM is the usual way to stop a server: no failure. uvicorn has its own handler while it
    runs, and raises the signal again for this one when it is done."""
    sys.exit(0)


if __name__ == "__main__":
    main()
