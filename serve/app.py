"""The server's endpoints: LibreTranslate's `/translate`, `/languages` and `/health`.

The model works in one thread of its own, so that the event loop stays free: `/health` answers while
a long text is being translated. Texts are never logged, and so neither are query strings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nmt.config import DecodeConfig, ServeConfig
from nmt.decoding import Translation, Translator
from nmt.errors import InputError
from serve.answers import answer
from serve.languages import name_of
from serve.requests import Limits, RequestError, check, read_parameters

logger = logging.getLogger(__name__)


def create_app(translator: Translator, config: ServeConfig) -> Starlette:
    """The application that serves one loaded model."""
    endpoints = Endpoints(translator, config)
    return Starlette(
        routes=[
            Route("/translate", endpoints.translate, methods=["POST"]),
            Route("/languages", endpoints.languages, methods=["GET"]),
            Route("/health", endpoints.health, methods=["GET"]),
        ],
        middleware=[
            # any page may use the server, as with LibreTranslate; there are no cookies to protect
            Middleware(
                CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]
            ),
            Middleware(Failures),
        ],
        exception_handlers={HTTPException: http_error, RequestError: request_error},
        lifespan=endpoints.lifespan,
    )


class Endpoints:
    """What the server answers, and the thread in which its model works."""

    def __init__(self, translator: Translator, config: ServeConfig) -> None:
        self._translator = translator
        self._config = config
        self._limits = Limits(
            source_language=translator.source_language,
            target_language=translator.target_language,
            max_sentences=config.max_sentences,
            max_characters=config.max_characters,
            max_alternatives=config.decode.beam_size - 1,
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="translator")

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        """Shutting down waits for what the model is working on."""
        yield
        self._thread.shutdown()

    async def translate(self, request: Request) -> JSONResponse:
        """`POST /translate`."""
        parameters = await read_parameters(request, self._config.max_body_bytes)
        asked = check(parameters, self._limits)
        decode = self._config.decode.model_copy(update={"n_best": 1 + asked.alternatives})
        segments = [segment for text in asked.texts for segment in text.segments]
        try:
            translations = await self._in_thread(segments, decode, asked.alignments)
        except InputError as error:
            raise RequestError(str(error)) from None
        return JSONResponse(answer(asked, translations, self._limits.source_language))

    async def languages(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /languages`."""
        source, target = self._limits.source_language, self._limits.target_language
        targets = {source: [target], target: []} if source != target else {source: [target]}
        return JSONResponse(
            [
                {"code": code, "name": name_of(code), "targets": reachable}
                for code, reachable in targets.items()
            ]
        )

    async def health(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /health`."""
        return JSONResponse({"status": "ok"})

    async def _in_thread(
        self, texts: Sequence[str], decode: DecodeConfig, alignments: bool
    ) -> list[Translation]:
        if not texts:
            return []
        work = partial(self._translator.translate, texts, decode, alignments=alignments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Failures:
    """Middleware: an unforeseen error becomes a 500 with an id; its cause is in the log alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except ClientDisconnect:
            logger.info("a client went away before its request was complete")
        except Exception:
            if scope["type"] != "http" or started:
                raise
            identifier = uuid4().hex
            logger.exception("request %s failed", identifier)
            response = error_response(
                f"Internal error; the server's log has it as {identifier}", 500
            )
            await response(scope, receive, send)


async def request_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """The answer to a request that cannot be carried out."""
    assert isinstance(error, RequestError), "registered for this type alone"
    return error_response(str(error), error.status)


async def http_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    """The answer to an unknown path (404) or a wrong verb (405)."""
    assert isinstance(error, HTTPException), "registered for this type alone"
    response = error_response(error.detail, error.status_code)
    response.headers.update(error.headers or {})
    return response


def error_response(text: str, status: int) -> JSONResponse:
    """`{"error": text}`; what cannot be UTF-8 (text may quote a request) is replaced."""
    plain = text.encode("utf-8", "replace").decode("utf-8")
    # The rest of a body that is too large is not read: no other request can follow it.
    headers = {"connection": "close"} if status == 413 else None
    return JSONResponse({"error": plain}, status, headers)
