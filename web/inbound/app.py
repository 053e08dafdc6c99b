"""Our only public process on the pipeline: delivery reports come in here.

uvicorn --factory web.inbound.app:create
"""

import os
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from config import settings as config
from pipeline import reports
from pipeline.runtime import Runtime, open_runtime

LONGEST_QUERY = 4096


def create(runtime: Runtime | None = None) -> FastAPI:
    """The application on a runtime; without one, on that of the data directory in the environment."""
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

    @app.get("/health")
    async def health() -> Response:
        """200 only when the database answers."""

        def ask() -> None:
            with rt.reading() as db:
                db.connection().exec_driver_sql("SELECT 1")

        await run_in_threadpool(ask)
        return PlainTextResponse("ok")

    return app
