"""Middleware for every request: id, log line, metrics, headers, and unexpected failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import RequestError
from serve.logs import note_request, request_id
from serve.metrics import Metrics

logger = logging.getLogger(__name__)

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
ABORTED = 499  # proxies' code for a client that did not wait for the answer


class RequestMiddleware:
    """The outermost middleware."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        paths: frozenset[str],
        refuse: Callable[[Scope], RequestError | None],
    ) -> None:
        """`paths` are the existing endpoints; all others are counted as `other`. `refuse` returns
        the error of a request that is rejected before its body is read."""
        self._app, self._metrics, self._paths, self._refuse = app, metrics, paths, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), ABORTED
        identifier = request_id(Request(scope).headers.get("x-request-id"))

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [*HEADERS, (b"x-request-id", identifier.encode())]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            refused = self._refuse(scope)
            if refused is None:
                await self._app(scope, receive, sending)
            else:
                headers = {**refused.headers, "access-control-allow-origin": "*"}
                refusal = error_response(scope["path"], refused.text, refused.status, headers)
                await refusal(scope, receive, sending)
        except ClientDisconnect:
            pass
        except Exception:
            logger.exception("request %s failed", identifier)
            if status != ABORTED:
                raise
            response = failure(scope["path"], identifier)
            await response(scope, receive, sending)
        finally:
            self._metrics.in_flight.dec()
            path = scope["path"]
            endpoint = path if path in self._paths else "other"
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.count(endpoint, method, status, time.perf_counter() - began)
            note_request(identifier, endpoint, method, status, began)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def failure(path: str, identifier: str) -> Response:
    """The answer to an unexpected failure: an id; the cause is in the log only."""
    text = f"Internal error; the server's log has it as {identifier}"
    return error_response(path, text, 500, {"access-control-allow-origin": "*"})


def error_response(
    path: str, text: str, status: int, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in the dialect of the path. Characters that are not valid Unicode (it may quote a
    request) are replaced."""
    plain = text.encode("utf-8", "replace").decode("utf-8")
    body = {"message": plain, "detail": plain} if path.startswith("/v2/") else {"error": plain}
    return JSONResponse(body, status, headers)
