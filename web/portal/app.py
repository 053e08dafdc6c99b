"""The public portal, a process of its own: `uvicorn --factory web.portal.app:create`.

A neighbour of the pipeline, not a part of it: it is written to by HTTP, as a foreign site would be.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from web.portal import feeds, logs, pages, problems, writing
from web.portal.settings import Settings
from web.portal.state import State
from web.portal.storage import Storage


def create() -> FastAPI:
    """Raises SettingsError before anything is opened."""
    logs.configure()
    settings = Settings.read()
    state = State(settings, Storage.open(settings.database_url))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        state.storage.engine.dispose()

    async def no_such_page(request: Request, error: Exception) -> Response:
        """Also for addresses whose parts do not fit (`/?page=x`): such a page does not exist."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        if request.url.path.removeprefix(settings.base_path).startswith("/api/"):
            return await problems.answer(request, problems.Problem(status, "no_such_address"))
        return pages.missing(state)

    app = FastAPI(
        title=settings.site_name, root_path=settings.base_path, openapi_url=None, lifespan=lifespan,
        exception_handlers={
            problems.Problem: problems.answer, RequestValidationError: no_such_page, HTTPException: no_such_page,
        },
    )  # fmt: skip
    app.state.portal = state
    for part in (writing, feeds, pages):
        app.include_router(part.routes)
    return app
