"""One log line per request: id, endpoint, status and duration. Texts, keys and query strings are
never logged."""

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
    """Formats each record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
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
    """Switch all logging to JSON."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())


def request_id(given: str | None) -> str:
    """The request id that the client gave, if it is well-formed; otherwise a new one."""
    return given if given and IDENTIFIER.fullmatch(given) else uuid4().hex


def note_request(identifier: str, endpoint: str, method: str, status: int, began: float) -> None:
    """Log a request that has been answered."""
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
