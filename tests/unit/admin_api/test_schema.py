"""The whole interface by its own description: whatever fits it, and much that does not, gets an answer that it names."""

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.admin_api.conftest import Api

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Any:
    api = Api(Path(tmp_path_factory.mktemp("admin")))
    api.admin_token = api.token("admin")  # type: ignore[attr-defined]
    return api


def test_it_is_openapi_3_1_with_examples(described: Api) -> None:
    document = described.ask("GET", "openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for name in ("NewUser", "NewToken", "Drop", "Login", "NewQuota", "QuotaChange", "Quota"):
        assert document["components"]["schemas"][name]["examples"]
    assert not described.ask("GET", "openapi.json").text.count("HTTPValidationError")


def test_every_answer_is_as_described(described: Api) -> None:
    document = described.ask("GET", "openapi.json").json()
    # Endless; and what asks an issuer, which may be whatever was set before.
    del document["paths"]["/v1/events"], document["paths"]["/v1/sign-in"]
    schema = schemathesis.openapi.from_dict(document)
    schema.app = described.app
    headers = {"Authorization": f"Bearer {described.admin_token}"}  # type: ignore[attr-defined]
    statuses: Counter[int] = Counter()
    for found, mode in product(schema.get_all_operations(), MODES):
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (
            operation.body or operation.query or operation.path_parameters
        ):
            continue  # nothing of it can be wrong

        @settings(
            max_examples=8,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            answer = case.call(base_url="http://caudal", headers=headers)
            statuses[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        given(case=operation.as_strategy(generation_mode=mode))(check)()
    assert {200, 201, 202, 204, 404, 422} <= set(statuses), statuses
    assert statuses.total() > 60
