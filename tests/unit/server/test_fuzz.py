"""Requests made from the API's own description find nothing: no failure inside, no reply that is not described."""

import contextlib

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from support.served import Served

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 15


@pytest.mark.slow
def test_nothing_made_from_the_description_breaks_it(server: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    headers = {"Authorization": f"Bearer {server.key}"}
    tried: dict[str, int] = {}
    for operation in (found.ok() for found in schema.get_all_operations()):
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            def holds(case) -> None:
                tried[case.operation.label] = tried.get(case.operation.label, 0) + 1
                case.call_and_validate(headers=headers, checks=CHECKS)

            # What takes nothing can't be given anything wrong.
            with contextlib.suppress(Unsatisfiable):
                holds()
    assert {"POST /v1/chat/completions", "POST /v1/documents/upload", "GET /v1/answers/{answer_id}"} <= tried.keys()
    with server.http() as http:
        assert http.get("/ready").status_code == 200
