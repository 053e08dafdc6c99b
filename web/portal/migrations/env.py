"""Alembic's entry: only on the connection, and inside the transaction, that `Storage.open` holds."""

from alembic import context

from web.portal.storage import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
