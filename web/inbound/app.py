"""Our only public process on the pipeline: delivery reports and replies come in here, and citizens subscribe.

uvicorn --factory web.inbound.app:create
"""

import hmac
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import logs
from config import settings as config
from pipeline import health, metrics, reports, subscriptions
from pipeline.runtime import Runtime, open_runtime
from web.inbound import pages

LONGEST_QUERY = 4096
LARGEST_BODY = 64 * 1024
METRICS_SECONDS = 8.0  # below what Prometheus waits, 10 s


def create(runtime: Runtime | None = None) -> ASGIApp:
    """The application on a runtime; without one, on that of the data directory in the environment."""
    if runtime is None:
        logs.configure("inbound")
    rt = runtime or open_runtime(config.load(Path(os.environ.get(config.DATA, "var/fabu"))))
    app = FastAPI(title="Fabu inbound", docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/reports/{channel}/{token}", methods=["GET", "POST"])
    async def report(channel: str, token: str, request: Request) -> Response:
        """A report on one attempt, at an address that nobody can guess. Stored before it is answered; a gateway that
        gets no 2xx asks again, and twice is once."""
        if len(request.url.query) > LONGEST_QUERY or len(token) > 200:
            return PlainTextResponse("too long", status_code=414)
        query = dict(request.query_params)
        if not await run_in_threadpool(reports.take, rt, channel, token, query):
            return PlainTextResponse("not found", status_code=404)
        return PlainTextResponse("ok")

    @app.api_route("/mo/{channel}/{token}", methods=["GET", "POST"])
    async def message(channel: str, token: str, request: Request) -> Response:
        """An SMS that somebody sent back, as Kannel's get-url hands it on: `from=%p&text=%b`. The answer is empty: the
        gateway would send any other one to the phone."""
        if len(request.url.query) > LONGEST_QUERY:
            return PlainTextResponse("too long", status_code=414)
        query = dict(parse_qsl(request.url.query, keep_blank_values=True, encoding="latin-1"))  # a letter for each byte
        sender, content = query.get("from", ""), query.get("text", "").encode("latin-1", "replace")
        taken = await run_in_threadpool(subscriptions.take_message, rt, channel, token, sender, content)
        if taken is None:
            return PlainTextResponse("not found", status_code=404)
        return Response(status_code=200, media_type="text/plain; charset=utf-8")

    app.include_router(pages.routes(rt))

    @app.get("/health")
    def answers() -> Response:
        """200 only when the database answers, 503 soon when it does not."""
        well = health.ledger_answers(rt)
        return PlainTextResponse("ok" if well else "the ledger does not answer", status_code=200 if well else 503)

    figures = metrics.Figures(rt)
    asked = f"Bearer {metrics.token(rt)}"

    @app.get("/metrics")
    def metrics_(authorization: Annotated[str, Header()] = "") -> Response:
        """For Prometheus, with the token of `fabu metrics --token`; 503 soon when the ledger does not answer."""
        if not hmac.compare_digest(authorization.encode(), asked.encode()):
            return PlainTextResponse("a token is needed", 401, {"WWW-Authenticate": "Bearer"})
        try:
            return Response(health.within(METRICS_SECONDS, figures.text), media_type=metrics.MEDIA_TYPE)
        except (TimeoutError, SQLAlchemyError):
            return PlainTextResponse("the ledger does not answer", status_code=503)

    return _Bounded(app)


class _Bounded:
    """Around the whole application: nothing that comes in here is large."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_BODY:
                raise HTTPException(413)
            return message

        await self.app(scope, bounded if scope["type"] == "http" else receive, send)
