"""A line in the log for each request: an id, what was asked for and how long it took. Never a text,
a key or a query string."""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import UTC, datetime
from uuid import uuid4

logger = logging.getLogger("serve.requests")

IDENTIFIER = re.compile(r"[\w.:-]{1,64}")


class JsonFormatter(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False)


def use_json() -> None:
    """From now on, all logging is in JSON."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())


def request_id(given: str | None) -> str:
    """The client's own, if it is harmless; a new one otherwise."""
    return given if given and IDENTIFIER.fullmatch(given) else uuid4().hex


def note_request(identifier: str, endpoint: str, method: str, status: int, began: float) -> None:
    """Log a request that was answered."""
    milliseconds = round(1000 * (time.perf_counter() - began), 1)
    logger.info(
        "%s %s %d in %.1f ms (%s)",
        method,
        endpoint,
        status,
        milliseconds,
        identifier,
        extra={
            "fields": {
                "request_id": identifier,
                "endpoint": endpoint,
                "method": method,
                "status": status,
                "duration_ms": milliseconds,
            }
        },
    )
