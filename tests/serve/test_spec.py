"""The server's own OpenAPI document: requests made from it never make the server fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.batching.fakes import Shouting
from tests.serve.conftest import address_of

StartServer = Callable[..., httpx.Client]


def test_no_request_makes_it_fail(start_server: StartServer) -> None:
    client = start_server(Shouting(), Shouting(source="de", target="en"), characters=200)
    schema = schemathesis.openapi.from_dict(client.get("/spec").json())
    schema.config.base_url = address_of(client)
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) >= 15
    for operation in operations:
        _check(operation)


def _check(operation: Any) -> None:
    @settings(
        max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        answer = case.call()
        assert answer.status_code < 500, (case.method, case.path, answer.text)
        case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error])

    check()
