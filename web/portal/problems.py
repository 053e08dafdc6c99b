"""Refusals of every interface of the portal, as problem documents (RFC 9457) with a `code` that machines read."""

from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
DETAILS = {  # what is said where the place of the refusal says nothing more exact
    "bad_cursor": "cursor 不是本接口给出的。请去掉它，从头开始。",
    "bad_number": "信息编号是 1 到 2147483647 之间的整数。",
    "cursor_gone": "这个 cursor 之后的变动已不再完整保存。请删去本地已存的信息，不带 since 从头同步。",
    "method_not_allowed": "这个地址不接受这种请求方法。",
    "no_such_address": "没有这个地址。",
    "no_such_column": "没有这个栏目。",
    "no_such_item": "没有这条信息。",
    "server_error": "服务器出错，请稍后再试。已留下记录。",
    "withdrawn": "该信息已撤下。",
    "wrong_signature": "签名缺失或不正确，什么都没有改动。",
}


class Problem(Exception):
    """A refusal; nothing was changed. `code` is stable, `detail` is for the person who reads the log."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail


async def answer(_request: Request, error: Exception) -> JSONResponse:
    """As an exception handler of FastAPI."""
    problem = error if isinstance(error, Problem) else _problem(error)
    body = {
        "type": "about:blank",  # then the title is the status's own phrase (RFC 9457, 4.2.1)
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
    }
    if detail := problem.detail or DETAILS.get(problem.code, ""):
        body["detail"] = detail
    headers = {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}  # a script of the app reads it, too
    if isinstance(error, HTTPException):
        headers |= error.headers or {}  # Allow, of a 405
    return JSONResponse(body, problem.status, headers, media_type=MEDIA_TYPE)


def _problem(error: Exception) -> Problem:
    match error:
        case RequestValidationError():
            first = error.errors()[0]
            place, *names = first["loc"]
            if place == "path":  # then there is no such address
                return Problem(404, "no_such_address")
            return Problem(422, "bad_parameter", f"{'.'.join(map(str, names))}: {first['msg']}")
        case HTTPException(status_code=405):
            return Problem(405, "method_not_allowed")
        case HTTPException():
            return Problem(error.status_code, "no_such_address")
    return Problem(500, "server_error")  # it broke; nothing of that is told outside
