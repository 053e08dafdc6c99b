"""What the portal tidies up by itself, every hour: files that no item names, and old lines of the log of writes."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from web.portal.storage import Storage
from web.portal.tables import attachments, files, request_log

FILE_KEPT = timedelta(days=1)  # after it last came in; the pipeline names it within seconds, or sends it again
LOG_KEPT = timedelta(days=400)
EVERY = 3600.0  # seconds


def sweep(storage: Storage, now: datetime) -> None:
    """Safe beside writes and beside itself: an item whose file was swept is refused with `file_missing`, and the
    pipeline sends the file once more."""
    unnamed = files.c.sha256.not_in(select(attachments.c.sha256))
    with storage.writing() as connection:
        connection.execute(delete(files).where(files.c.kept_at < now - FILE_KEPT, unnamed))
        connection.execute(delete(request_log).where(request_log.c.at < now - LOG_KEPT))
    storage.forget()


async def hourly(storage: Storage) -> None:
    """Until it is cancelled."""
    while True:
        try:
            await run_in_threadpool(sweep, storage, datetime.now(UTC))
        except SQLAlchemyError:
            logging.getLogger(__name__).exception("sweep")  # the database is away; the next hour will do
        await asyncio.sleep(EVERY)
