"""The commands: `common` has the application and the shared options; each module registers an area's commands on it."""

# ruff: noqa: F401, I001  (imported for that, and in the order of the help: an item's way first)
from workers.commands.common import app
from workers.commands import (
    writing,
    importing,
    collecting,
    reviewing,
    delivering,
    newsletter,
    proving,
    channels,
    running,
    service,
    watching,
    standing,
    staffing,
    notifying,
    bouncing,
    logbook,
    words,
    rescuing,
    numbers,
)
