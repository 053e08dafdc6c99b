"""Bring a ledger to the present schema, and the first staff into it: Alembic, on SQLite and PostgreSQL alike."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from config.settings import Settings
from pipeline import staff
from pipeline.database import open_engine
from pipeline.rescue import stage

HERE = Path(__file__).parent / "migrations"


def config_for(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> None:
    """Run what is missing. Safe to run again; two at once wait for each other on the database."""
    command.upgrade(config_for(engine), "head")


def set_up(settings: Settings) -> None:
    """Make the ledger that the settings name ready to work with. Safe to run again. Raises ConfigError where a
    restore was broken off half way."""
    stage.require_ledger(settings.data)
    engine = open_engine(settings.database_url)
    try:
        upgrade(engine)
        staff.take_over(engine, settings)
    finally:
        engine.dispose()
