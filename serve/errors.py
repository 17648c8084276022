"""Errors of requests, with the status that each is answered with."""

from __future__ import annotations


class RequestError(Exception):
    """A request that is rejected.

    Attributes:
        text: the message for the client.
        status: the HTTP status.
        retry_after: seconds after which the client should try again, if that helps.
    """

    def __init__(self, text: str, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.text, self.status, self.retry_after = text, status, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        found = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        # The rest of an oversized body is not read, so the connection cannot be reused.
        return found | ({"connection": "close"} if self.status == 413 else {})
