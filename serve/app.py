"""The server's endpoints: LibreTranslate's and DeepL's dialects, health, metrics, and the page.

The models run in a process of their own, so the event loop stays free: health and metrics answer
whatever the models are doing. Texts, keys and query strings are never logged.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from nmt.config import ServeConfig
from nmt.errors import InputError
from serve.auth import Keys
from serve.detection import detect
from serve.dialects import deepl, libretranslate
from serve.errors import RequestError
from serve.limits import Rates
from serve.metrics import Metrics
from serve.middleware import RequestMiddleware, error_response
from serve.models import Models
from serve.parameters import Parameters, read_parameters, validated
from serve.service import SHORT, Service, TextTranslation, TranslationRequest
from serve.spec import specification

STATIC = Path(__file__).parent / "static"
NO_LIMIT = 1_000_000_000_000  # characters; DeepL's dialect cannot express "no limit"
TRANSLATING = frozenset({"/translate", "/v2/translate"})


def create_app(models: Models | None, config: ServeConfig) -> Starlette:
    """The application. Without models it is loading, until `app.state.service.use` is called.

    Raises:
        ConfigurationError: the file of keys is not valid.
    """
    metrics = Metrics()
    service = Service(models, config, metrics)
    endpoints = Endpoints(service, config, Keys.load(config.keys), metrics)
    routes = endpoints.routes()
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                RequestMiddleware,
                metrics=metrics,
                paths=frozenset(r.path for r in routes),
                refuse=endpoints.refuse,
            ),
            # Any page may use the server, as with LibreTranslate; there are no cookies to protect.
            Middleware(
                CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]
            ),
        ],
        exception_handlers={HTTPException: http_error, RequestError: request_error},
        lifespan=endpoints.lifespan,
    )
    app.state.service = service
    return app


class Endpoints:
    """The handlers of all endpoints."""

    def __init__(self, service: Service, config: ServeConfig, keys: Keys, metrics: Metrics) -> None:
        self._service, self._config, self._keys, self._metrics = service, config, keys, metrics
        self._limits, self._rates = config.limits, Rates(config.limits)
        self._characters: Counter[str] = Counter()  # of each client, for /v2/usage
        self._started = time.time()

    def routes(self) -> list[Route]:
        """All routes."""
        table: list[tuple[str, Any, str]] = [
            ("/translate", self.translate, "POST"),
            ("/detect", self.detect, "POST"),
            ("/languages", self.languages, "GET"),
            ("/frontend/settings", self.settings, "GET"),
            ("/spec", self.spec, "GET"),
            ("/v2/translate", self.translate_deepl, "POST"),
            ("/v2/languages", self.languages_deepl, "GET"),
            ("/v2/usage", self.usage, "GET"),
            ("/health", self.live_libretranslate, "GET"),
            ("/livez", self.live, "GET"),
            ("/readyz", self.ready, "GET"),
            ("/v2/health/live", self.live, "GET"),
            ("/v2/health/ready", self.ready, "GET"),
            ("/metrics", self.metrics, "GET"),
            ("/status", self.status, "GET"),
        ]
        if self._config.page:
            table.append(("/", self.page, "GET"))
            table += [(f"/static/{file.name}", self.static, "GET") for file in STATIC.iterdir()]
        # The official DeepL client also sends these as POST.
        both = {"/v2/languages", "/v2/usage"}
        return [
            Route(path, endpoint, methods=["GET", "POST"] if path in both else [verb])
            for path, endpoint, verb in table
        ]

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        """At shutdown, wait for the accepted requests."""
        yield
        await self._service.drain()

    def refuse(self, scope: Scope) -> RequestError | None:
        """The error of a request that would be rejected whatever it contains: under overload,
        rejecting must cost next to nothing. With keys, callers are known only from the body."""
        if scope["path"] not in TRANSLATING or scope["method"] != "POST":
            return None
        if self._keys.required:
            return self._service.ending()
        client = scope.get("client")
        return self._service.refusal(client[0] if client else "unknown")

    # LibreTranslate

    async def translate(self, request: Request) -> JSONResponse:
        """`POST /translate`."""
        arrived = time.monotonic()
        parameters = await self._read(request)
        caller = self._caller(request, parameters)
        found, wanted = libretranslate.parse_translate(parameters, self._limits)
        translations = await self._translate(request, wanted, caller, arrived)
        answer = partial(libretranslate.answer, parameters, found, translations)
        if wanted.characters > SHORT:
            return await run_in_threadpool(lambda: JSONResponse(answer()))
        return JSONResponse(answer())

    async def detect(self, request: Request) -> JSONResponse:
        """`POST /detect`."""
        parameters = await self._read(request)
        caller = self._caller(request, parameters)
        asked = validated(libretranslate.DetectRequest, parameters, libretranslate.missing)
        text = "\n".join(asked.q)
        self._service.check_length(len(text))
        self._check_rate(caller, text)
        found = await run_in_threadpool(detect, text, self._service.models.languages)
        return JSONResponse([libretranslate.detection(one) for one in found])

    async def languages(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /languages`."""
        return JSONResponse(libretranslate.languages(self._service.models))

    async def settings(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /frontend/settings`."""
        models, keys = self._service.models, self._keys.required
        return JSONResponse(libretranslate.settings(models, self._limits, keys))

    async def spec(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /spec`."""
        return JSONResponse(specification(self._limits))

    # DeepL

    async def translate_deepl(self, request: Request) -> JSONResponse:
        """`POST /v2/translate`."""
        arrived = time.monotonic()
        parameters = await self._read(request, deepl.LISTS)
        caller = self._caller(request, parameters)
        wanted = deepl.parse_translate(parameters)
        translations = await self._translate(request, wanted, caller, arrived)
        return JSONResponse(deepl.answer(wanted.texts, translations))

    async def languages_deepl(self, request: Request) -> JSONResponse:
        """`GET /v2/languages`."""
        parameters = await self._read(request)
        self._caller(request, parameters)
        return JSONResponse(deepl.languages(self._service.models, parameters))

    async def usage(self, request: Request) -> JSONResponse:
        """`GET /v2/usage`: since the server was started."""
        parameters = await self._read(request)
        caller = self._caller(request, parameters)
        count = self._characters.get(caller, 0)
        return JSONResponse({"character_count": count, "character_limit": NO_LIMIT})

    # Operation

    async def live_libretranslate(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /health`: the server runs."""
        return JSONResponse({"status": "ok"})

    async def live(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /livez`: the server and the running batch run."""
        alive = self._service.batch.failure is None
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 500)

    async def ready(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /readyz`: requests are translated."""
        if self._service.ready and self._service.batch.failure is None:
            return JSONResponse({"status": "ok"})
        status = "draining" if self._service.draining else "loading"
        return JSONResponse({"status": status}, 503, {"retry-after": "5"})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """`GET /metrics`."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def status(self, request: Request) -> JSONResponse:  # noqa: ARG002
        """`GET /status`: the present load, for the page."""
        now = self._service.batch.statistics
        return JSONResponse(
            {
                "ready": self._service.ready,
                "uptime_seconds": round(time.time() - self._started),
                "waiting_sentences": now.waiting_sentences,
                "waiting_tokens": now.waiting_tokens,
                "running_sentences": now.running_sentences,
                "padding": round(now.padding, 3),
                "sentences": now.sentences,
                "steps": now.steps,
                "busy_seconds": round(now.busy_seconds, 3),
                "last_minute": self._metrics.last_minute(),
            }
        )

    async def page(self, request: Request) -> FileResponse:  # noqa: ARG002
        """`GET /`: the page."""
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def static(self, request: Request) -> FileResponse:
        """`GET /static/…`: the page's scripts and styles."""
        name = request.url.path.rpartition("/")[2]
        return FileResponse(STATIC / name, headers={"cache-control": "no-cache"})

    # Helpers

    async def _read(self, request: Request, lists: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Read a request's parameters.

        Raises:
            RequestError: they cannot be read, or do not arrive in time.
        """
        try:
            async with asyncio.timeout(self._limits.deadline_seconds):
                return await read_parameters(request, self._limits.body_bytes, lists)
        except TimeoutError:
            raise RequestError("The request did not arrive in time", 408) from None

    def _caller(self, request: Request, parameters: Parameters) -> str:
        """The caller: the name of a key's client, or an address.

        Raises:
            RequestError: a key is missing or wrong.
        """
        name = self._keys.client(request, parameters)
        return name or (request.client.host if request.client else "unknown")

    def _check_rate(self, caller: str, *texts: str) -> None:
        try:
            self._rates.check(caller, sum(map(len, texts)))
        except RequestError:
            self._metrics.rejected.labels("rate").inc()
            raise

    async def _translate(
        self, request: Request, wanted: TranslationRequest, caller: str, arrived: float
    ) -> list[TextTranslation]:
        """Translate before the deadline, unless the client disconnects first.

        Raises:
            RequestError: the request is not valid, or cannot be translated now.
            ClientDisconnect: the client has closed its connection.
        """
        self._check_rate(caller, *wanted.texts)
        deadline = arrived + self._limits.deadline_seconds
        work = asyncio.ensure_future(self._service.translate(wanted, caller, deadline))
        gone = asyncio.ensure_future(_until_gone(request))
        try:
            await asyncio.wait(
                {work, gone},
                # The batch enforces the deadline itself, but may be in the middle of a step.
                timeout=max(0.0, deadline + 1 - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not work.done():
                raise ClientDisconnect if gone.done() else self._service.late()
            translated = work.result()
        except InputError as error:
            raise RequestError(str(error)) from None
        finally:
            gone.cancel()
            work.cancel()  # its waiting sentences leave the queue
            await asyncio.wait({work}, timeout=1)
        if self._keys.required:
            self._characters[caller] += wanted.characters
        self._metrics.answered(time.monotonic() - arrived)
        return translated


async def _until_gone(request: Request) -> None:
    """Wait until the client closes its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def request_error(request: Request, error: Exception) -> JSONResponse:
    """The answer to a rejected request."""
    assert isinstance(error, RequestError), "registered for this type alone"
    return error_response(request.url.path, error.text, error.status, error.headers)


async def http_error(request: Request, error: Exception) -> JSONResponse:
    """The answer to an unknown path (404) or a wrong verb (405)."""
    assert isinstance(error, HTTPException), "registered for this type alone"
    headers = dict(error.headers or {})
    return error_response(request.url.path, error.detail, error.status_code, headers)
