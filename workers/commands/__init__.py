"""The commands: `common` has the application and the shared options; each module registers an area's commands on it."""

# ruff: noqa: I001  (in the order of the help: an item's way first)
from workers.commands.common import app
from workers.commands import writing, importing, reviewing, delivering, channels, running, service, watching

__all__ = ["app", "channels", "delivering", "importing", "reviewing", "running", "service", "watching", "writing"]
