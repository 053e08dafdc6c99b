"""Where a restore makes the new ledger before it takes the place of the old one: a folder in the data directory, and on
PostgreSQL a schema. Both are gone when a restore has ended; what else there is, whoever finds them leaves alone."""

from pathlib import Path

from sqlalchemy import ColumnElement, func, literal
from sqlalchemy.orm import Session

from config.settings import ConfigError

FOLDER = ".restoring"
SCHEMA = "restoring"
NO_LEDGER = "no-ledger"  # in the folder, while no ledger is in its place; holds the name of what was put aside


def begun(data: Path, db: Session) -> ColumnElement[bool]:
    """Was a restore begun that has not ended?"""
    if db.get_bind().dialect.name == "sqlite":
        return literal((data / FOLDER).exists())
    return func.to_regnamespace(SCHEMA).is_not(None)


def require_ledger(data: Path) -> None:
    """Raises ConfigError where a restore was broken off after the old ledger was moved and before the new one was:
    whoever opened a ledger now would make an empty one, and give numbers again that citizens know."""
    if (data / FOLDER / NO_LEDGER).exists():
        raise ConfigError("restore.half_way", data=str(data))
