"""The public portal, a process of its own: `uvicorn --factory web.portal.app:create`.

A neighbour of the pipeline, not a part of it: it is written to by HTTP, as a foreign site would be.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from web.portal import (
    app_api,
    cache,
    feeds,
    logs,
    office,
    open_data,
    pages,
    problems,
    sitemap,
    turns,
    upkeep,
    writing,
)
from web.portal.settings import Settings
from web.portal.state import State
from web.portal.storage import Storage


def create() -> cache.Front:
    """Raises SettingsError or OfficeError before anything is opened."""
    logs.configure()
    settings = Settings.read()
    told = office.read(os.environ)
    state = State(settings, Storage.open(settings.database_url, told.rules), told)
    watch = cache.watch(state.storage)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        turns.limit_readers()
        tidying = asyncio.create_task(upkeep.hourly(state.storage))
        yield
        tidying.cancel()
        watch.close()
        state.storage.engine.dispose()

    async def no_such_page(request: Request, error: Exception) -> Response:
        """Also for addresses whose parts do not fit (`/?page=x`): such a page does not exist."""
        return await problems.answer(request, error) if of_a_program(request) else pages.missing(state)

    async def broken(request: Request, error: Exception) -> Response:
        if of_a_program(request):
            return await problems.answer(request, error)
        return PlainTextResponse("Internal Server Error", 500)

    def of_a_program(request: Request) -> bool:
        return request.url.path.removeprefix(settings.base_path).startswith("/api/")

    app = FastAPI(
        title=settings.site_name, openapi_url=None, lifespan=lifespan,
        exception_handlers={
            problems.Problem: problems.answer, RequestValidationError: no_such_page, HTTPException: no_such_page,
            Exception: broken,
        },
    )  # fmt: skip
    app.state.portal = state
    for part in (app_api, open_data, sitemap, writing, feeds, pages):
        app.include_router(part.routes)
    return cache.Front(app, cache.Cache(watch), settings.base_path)
