"""The JSON API, `/api/v1`: everything the pages do, for programs, described by OpenAPI.

A program comes with `Authorization: Bearer TOKEN` and has the rights of the person who made the token. Every endpoint
calls the same function of the pipeline as the page; what the pipeline refuses is answered as problem+json (RFC 9457).
"""

from collections.abc import Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from channels.contract import Finding
from config.locale import Language
from pipeline.decisions import Refused
from pipeline.runtime import Runtime
from pipeline.words import problem
from web.console.api import copies, deliveries, newsletter, office, records, texts
from web.console.api.caller import Unknown, language_of
from web.console.api.shapes import PROBLEM, FindingOut, Problem

DESCRIPTION = """Everything the console does, for programs. Make a token in the console (程序令牌), and send it as
`Authorization: Bearer fabu_…`: the program then has your rights, and the audit log names you.

Errors are `application/problem+json` (RFC 9457): `code` and `facts` for programs, `detail` for people, in the language
of `Accept-Language` (zh or en)."""
STATUS = {
    "item.unknown": 404, "staff.unknown_person": 404, "review.unknown_channel": 404, "account.unknown_token": 404,
    "api.unknown_file": 404, "issue.unknown": 404, "decision.not_permitted": 403, "decision.other_department": 403,
    "review.not_in_charge": 403, "review.own_item": 403, "review.same_person": 403, "deputy.not_yours": 403,
}  # fmt: skip
STATES = {
    "review.already_submitted", "review.nothing_waiting", "review.wrong_hash", "review.edited_since",
    "review.edited_meanwhile", "review.not_in_force", "review.correct_instead", "review.edit_instead",
}  # fmt: skip


def create(rt: Runtime) -> FastAPI:
    """The API as an application of its own, to be mounted: its errors are no pages."""
    app = FastAPI(
        title="Fabu API", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None,
        openapi_url="/openapi.json", responses=PROBLEM,
    )  # fmt: skip
    app.state.runtime = rt
    for part in (texts, copies, deliveries, newsletter, records, office):
        app.include_router(part.routes)

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        status = STATUS.get(error.code, 409 if error.code in STATES else 422)
        return _answer(request, status, error.code, dict(error.facts), error.findings)

    @app.exception_handler(Unknown)
    def unknown(request: Request, error: Unknown) -> Response:
        answered = _answer(request, 401, "api.no_token", {})
        answered.headers["WWW-Authenticate"] = 'Bearer realm="Fabu"'
        return answered

    @app.exception_handler(RequestValidationError)
    def not_understood(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return _answer(request, 422, "api.not_understood", {"place": place, "detail": first["msg"]})

    @app.exception_handler(HTTPException)
    def no_such(request: Request, error: HTTPException) -> Response:
        code = {404: "api.no_such_address", 405: "api.no_such_method", 413: "api.too_large"}
        return _answer(request, error.status_code, code.get(error.status_code, "api.not_understood_at_all"), {})

    return app


def no_such_address(request: Request) -> Response:
    """For whoever meets an address below the API's that the API itself was not asked about."""
    return _answer(request, 404, "api.no_such_address", {})


def _answer(
    request: Request, status: int, code: str, facts: dict[str, object], findings: Sequence[Finding] = ()
) -> Response:
    spoken: Language = language_of(request)
    body = Problem(
        type=f"urn:fabu:{code}", title=code, status=status, code=code, detail=problem(spoken, code, facts),
        facts={name: str(fact) for name, fact in facts.items()},
        findings=[FindingOut.of(one) for one in findings],
    )  # fmt: skip
    return JSONResponse(body.model_dump(), status, media_type="application/problem+json")
