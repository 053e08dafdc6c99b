"""The composition root: the only module that turns settings into an engine, open channels and a wake."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from channels.contract import Channel
from channels.registry import open_channel
from config.settings import ChannelSection, Settings
from pipeline import database, listing
from pipeline.rescue import stage
from pipeline.states import Traits
from pipeline.wake import Wake

listing.register()


@dataclass(frozen=True)
class Opened:
    """A channel as the pipeline holds it: its adapter, its configuration, and what judgements need of both."""

    name: str
    adapter: Channel
    section: ChannelSection
    traits: Traits


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    engine: Engine
    channels: Mapping[str, Opened]
    wake: Callable[..., None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with database.writing(self.engine) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with database.reading(self.engine) as session:
            yield session


def open_channels(settings: Settings) -> dict[str, Opened]:
    opened = {}
    for name, section in settings.channels.items():
        adapter = open_channel(name, section.kind, section.call_seconds, section.options)
        limit = timedelta(seconds=section.call_seconds)
        looks = settings.limits.looks
        traits = Traits(adapter.recall, adapter.evidence, adapter.fenced, limit, section.tries, looks)
        opened[name] = Opened(name, adapter, section, traits)
    return opened


def open_runtime(settings: Settings) -> Runtime:
    """Raises ConfigError where there is no whole ledger, or a channel cannot be opened."""
    stage.require_ledger(settings.data)
    engine = database.open_engine(settings.database_url)
    return Runtime(settings, engine, open_channels(settings), Wake(settings.broker_url))
