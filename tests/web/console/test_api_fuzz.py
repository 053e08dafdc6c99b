"""The API against its own description: whatever a program sends, it is never the server that breaks (schemathesis)."""

from collections.abc import Callable

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from pipeline import accounts, assembly, issues
from tests.pipeline.newsletter import TYPES, newsletter
from tests.web.console.conftest import Office

EXAMPLES = 36  # for each operation
# What a fuzzer must not do to itself: revoke the token that it comes with.
LEFT_OUT = {"revokeToken"}


@pytest.mark.timeout(170)
def test_no_request_that_a_fuzzer_thinks_of_breaks_the_server(open_console: Callable[..., Office]) -> None:
    office = open_console(newsletter=newsletter(), item_types=TYPES)
    bureau = office.bureau
    bureau.publish("web", "board")
    bureau.work()
    issues.ensure(bureau.rt)
    assembly.build(bureau.rt, bureau.actor("wang"), issues.find(bureau.rt, ""))
    bureau.submit(bureau.write(), "web")
    token = accounts.make_token(bureau.rt, bureau.actor("both"), "fuzz")
    description = requests.get(f"{office.url}/api/v1/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(description)
    schema.config.base_url = f"{office.url}/api/v1"
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.definition.raw.get("operationId") in LEFT_OUT:
            continue

        @settings(
            max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def fuzz(case: schemathesis.Case) -> None:
            case.call_and_validate(
                headers={"Authorization": f"Bearer {token}"},
                checks=[not_a_server_error, response_schema_conformance, content_type_conformance],
                timeout=20,
            )

        fuzz()
        tried += 1
    assert tried > 30
