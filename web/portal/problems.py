"""Refusals of the write API, as problem documents (RFC 9457) with a `code` that machines read."""

from starlette.requests import Request
from starlette.responses import JSONResponse


class Problem(Exception):
    """A refusal; nothing was changed. `code` is stable, `detail` is for the person who reads the log."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail


async def answer(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    body = {"type": "about:blank", "title": problem.code, "status": problem.status, "code": problem.code}
    if problem.detail:
        body["detail"] = problem.detail
    return JSONResponse(body, problem.status, media_type="application/problem+json")
