"""Run by Alembic: one transaction for all that is missing."""

from typing import Any

from alembic import context

from pipeline import models  # noqa: F401  (the tables register themselves)
from pipeline.database import Base, UTCTime


def _render(kind: str, thing: Any, autogen: Any) -> Any:
    if kind == "type" and isinstance(thing, UTCTime):
        autogen.imports.add("from pipeline.database import UTCTime")
        return "UTCTime()"
    return False


with context.config.attributes["engine"].connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7237001)")  # two at once: one after the other
        context.run_migrations()
    connection.commit()
