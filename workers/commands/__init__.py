"""The commands: `common` has the application and the shared options; each module registers an area's commands on it."""

# ruff: noqa: I001  (in the order of the help: an item's way first)
from workers.commands.common import app
from workers.commands import writing, reviewing, delivering, channels, running

__all__ = ["app", "channels", "delivering", "reviewing", "running", "writing"]
