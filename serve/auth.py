"""API keys: who may translate. Keys are kept and compared as digests, in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request

from nmt.errors import ConfigurationError
from serve.errors import RequestError

COMMENT = re.compile(r"(^|\s)#.*")
SCHEMES = ("bearer ", "deepl-auth-key ")


class Keys:
    """The keys of the clients that may translate. Without keys, everybody may."""

    def __init__(self, keys: Mapping[str, str] | None) -> None:
        """`keys` by client name; None: no key is required."""
        self._digests: dict[bytes, str] | None = None
        if keys is not None:
            self._digests = {_digest(key): name for name, key in keys.items()}

    @classmethod
    def load(cls, file: str | None) -> Keys:
        """Read a file with a line `name key` for each client; `#` begins a comment.

        Raises:
            ConfigurationError: the file cannot be read, or a line is something else.
        """
        if file is None:
            return cls(None)
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                [f"`keys` must be a file of keys, but `{file}` cannot be read: {error}"]
            ) from None
        found: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            words = COMMENT.sub("", line).split()
            if not words:
                continue
            if len(words) != 2 or words[0] in found:
                raise ConfigurationError(
                    [
                        f"`keys`: line {number} of `{file}` must be a name, unlike all others, and "
                        "a key, with a space between."
                    ]
                )
            if words[1] in found.values():
                raise ConfigurationError(
                    [f"`keys`: line {number} of `{file}` must have a key unlike all others."]
                )
            found[words[0]] = words[1]
        if not found:
            raise ConfigurationError([f"`keys` must have a key, but `{file}` has none."])
        return cls(found)

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return self._digests is not None

    def client(self, request: Request, parameters: Mapping[str, Any]) -> str | None:
        """The name of the client that sent a request; None if no key is required.

        Raises:
            RequestError: 403 with a wrong key; without one 400, or in DeepL's dialect 403.
        """
        if self._digests is None:
            return None
        key = _key_of(request, parameters)
        if not key:
            status = 403 if request.url.path.startswith("/v2/") else 400
            raise RequestError("Please contact the server operator to get an API key", status)
        given, name = _digest(key), None
        for digest, one in self._digests.items():  # all of them, so that timing reveals nothing
            if hmac.compare_digest(digest, given):
                name = one
        if name is None:
            raise RequestError("Invalid API key", 403)
        return name


def _key_of(request: Request, parameters: Mapping[str, Any]) -> str | None:
    header = request.headers.get("authorization", "")
    for scheme in SCHEMES:
        if header.lower().startswith(scheme):
            return header[len(scheme) :].strip()
    value = parameters.get("api_key") or parameters.get("apiKey") or parameters.get("auth_key")
    return value if isinstance(value, str) else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
