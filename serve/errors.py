"""What goes wrong with requests, and the status that each is answered with."""

from __future__ import annotations


class RequestError(Exception):
    """A request that is not carried out.

    Attributes:
        text: what the client is told.
        status: of HTTP.
        retry_after: seconds after which it may try again, if that helps.
    """

    def __init__(self, text: str, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.text, self.status, self.retry_after = text, status, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Beside the body."""
        found = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        # The rest of a body that is too large is not read: no other request can follow it.
        return found | ({"connection": "close"} if self.status == 413 else {})
