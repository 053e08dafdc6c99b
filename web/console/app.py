"""The console, where the staff works: `uvicorn --factory web.console.app:create`.

Server-rendered pages on the pipeline's own functions; without JavaScript everything but live updates works.
"""

import gc
import os
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import logs
from config import settings as config
from pipeline import health
from pipeline.decisions import Refused
from pipeline.runtime import Runtime, open_runtime
from web.console import (
    admin,
    api,
    calendar,
    desk,
    items,
    logbook,
    newsletter,
    numbers,
    overview,
    people,
    reach,
    reviewing,
    signing_in,
    standing_admin,
    submitting,
    subscribers_admin,
    words_admin,
    writing,
)
from web.console.page import STATIC, Forged, SignInFirst, anybody, safe_target

LARGEST_REQUEST = 120_000_000  # bytes: a text and its attachments in one form
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # a shared computer's back button must not show what a leader read
}


def create(runtime: Runtime | None = None) -> ASGIApp:
    """The application on a runtime; without one, on that of the data directory in the environment."""
    if runtime is None:
        logs.configure("console")
    rt = runtime or open_runtime(config.load(Path(os.environ.get(config.DATA, "var/fabu"))))
    app = FastAPI(title="Fabu console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.runtime = rt
    parts = (
        signing_in, desk, items, reviewing, reach, admin, people, calendar, numbers, writing, submitting, words_admin,
        subscribers_admin, standing_admin, logbook, overview, newsletter,
    )  # fmt: skip
    for part in parts:
        app.include_router(part.routes)

    app.mount("/api/v1", api.create(rt))

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404)
        content, media_type = STATIC[name]
        return Response(
            content, media_type=media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
        )

    @app.get("/health")
    def answers() -> Response:
        """200 only when the ledger answers, 503 soon when it does not."""
        well = health.ledger_answers(rt)
        text = "ok" if well else "the ledger does not answer"
        return Response(text, 200 if well else 503, media_type="text/plain")

    async def said(request: Request, template: str, status: int, **values: object) -> Response:
        """A page that says what went wrong, to whoever asks."""

        def make() -> Response:
            return anybody(request).page(template, status, **values)

        return await run_in_threadpool(make)

    @app.exception_handler(SignInFirst)
    async def sign_in_first(request: Request, error: SignInFirst) -> Response:
        base = request.scope.get("root_path", "")
        place = "/password" if error.must_change else f"/sign-in?to={safe_target(error.to)}"
        return Response(status_code=303, headers={"Location": base + place})

    @app.exception_handler(Forged)
    async def forged(request: Request, error: Forged) -> Response:
        return await said(request, "problem.html", 403, code="console.forged", facts={}, findings=())

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        status = {"item.unknown": 404, "decision.not_permitted": 403, "decision.other_department": 403}
        return await said(
            request, "problem.html", status.get(error.code, 409),
            code=error.code, facts=error.facts, findings=error.findings,
        )  # fmt: skip

    @app.exception_handler(HTTPException)
    @app.exception_handler(RequestValidationError)
    async def no_such_page(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        if request.url.path.removeprefix(request.scope.get("root_path", "")).startswith("/api/"):
            return api.no_such_address(request)  # a line break in it: the mount did not match
        code = {404: "console.no_such_page", 405: "console.no_such_page"}.get(status, "console.bad_request")
        return await said(request, "problem.html", status, code=code, facts={}, findings=())

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        words = "出错了，没有保存。请稍后再试；仍然如此请告诉管理员。\nSomething broke; nothing was saved."
        return PlainTextResponse(words, 500)

    if runtime is None:  # a process of its own: what is there now stays, and each full collection would walk it all
        gc.collect()
        gc.freeze()
    return _Guarded(app, urlsplit(rt.settings.console_url).path.rstrip("/"))


class _Guarded:
    """Around the whole application: its base path, the headers of every answer, and the size of every request."""

    def __init__(self, app: ASGIApp, base: str) -> None:
        self.app = app
        self.base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_REQUEST:
                raise HTTPException(413)
            return message

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                new = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]
                message["headers"] = [*message["headers"], *(pair for pair in new if pair[0] not in given)]
            await send(message)

        await self.app({**scope, "root_path": self.base}, bounded, secured)
