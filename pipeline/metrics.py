"""Figures for a monitoring system (Prometheus), read from the ledger: no process has to count.

Attempts are counted from their ends by id, so that a scrape reads only what is new: a counter begins at 0 when its
process starts, as Prometheus expects. No figure carries more than the name of a channel, a host, or a feed.
"""

import hashlib
import hmac
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline import claim, health
from pipeline.models import AttemptEnd, ChannelStatus, Delivery, Feed
from pipeline.rescue import backup
from pipeline.runtime import Runtime
from pipeline.states import Result, State

__all__ = ["MEDIA_TYPE", "Figures", "Overdue", "overdue", "token"]
SETTLING = timedelta(seconds=30)  # ends may be committed in another order than their ids: the newest are counted later


@dataclass(frozen=True)
class Overdue:
    """Rows of one channel that could have gone and have not. `since`: from when on the oldest could."""

    channel: str
    count: int
    since: datetime


def overdue(rt: Runtime, late: timedelta = timedelta()) -> list[Overdue]:
    """What could have gone at least so long ago, for each channel that has any. What waits for its time, the quiet
    hours or the page that it names is not due; what a pause or the breaker holds up is."""
    found = []
    with rt.reading() as db:
        for opened in rt.channels.values():
            count, since = claim.long_due(rt, db, opened, late)
            if since is not None:
                found.append(Overdue(opened.name, count, since))
    return found


def token(rt: Runtime) -> str:
    """What a monitoring system shows to be let in; made of the installation's secret."""
    return hmac.new(rt.settings.secret.encode(), b"metrics", hashlib.sha256).hexdigest()[:40]


class Figures:
    """The figures of one installation, collected anew for each scrape. `all_attempts`: count those of the past, too,
    which reads every one of them once."""

    def __init__(self, rt: Runtime, all_attempts: bool = False) -> None:
        self._rt = rt
        self._attempts: Counter[tuple[str, Result]] = Counter()
        self._counted = 0 if all_attempts else None
        self._one = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """In Prometheus's text format, version 0.0.4. Raises what the database raises."""
        with self._one:
            return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client asks a collector for."""
        yield from self._deliveries()
        yield from self._channels()
        yield self._attempt_ends()
        yield from self._processes()
        yield from self._feeds()
        yield from self._backups()

    def _deliveries(self) -> Iterable[Metric]:
        due = GaugeMetricFamily("fabu_due", "Deliveries that could go now and have not", labels=["channel"])
        age = GaugeMetricFamily("fabu_due_oldest_seconds", "How long the oldest of them could have gone",
                                labels=["channel"])  # fmt: skip
        trouble = GaugeMetricFamily("fabu_trouble", "Deliveries that wait for a person", labels=["channel", "state"])
        late = {one.channel: one for one in overdue(self._rt)}
        for name in self._rt.channels:
            one = late.get(name)
            due.add_metric([name], one.count if one else 0)
            age.add_metric([name], (self._rt.now() - one.since).total_seconds() if one else 0)
        waiting = (State.FAILED, State.IN_DOUBT, State.ON_HOLD)
        with self._rt.reading() as db:
            counted = select(Delivery.channel, Delivery.state, func.count()).where(Delivery.state.in_(waiting))
            counts = {(name, state): count for name, state, count in
                      db.execute(counted.group_by(Delivery.channel, Delivery.state))}  # fmt: skip
        for name in self._rt.channels:
            for state in waiting:
                trouble.add_metric([name, state.value], counts.get((name, state), 0))
        yield from (due, age, trouble)

    def _channels(self) -> Iterable[Metric]:
        paused = GaugeMetricFamily("fabu_channel_paused", "A person paused the channel", labels=["channel"])
        breaker = GaugeMetricFamily("fabu_channel_breaker_open", "The channel is given up for now", labels=["channel"])
        expired = CounterMetricFamily("fabu_leases_expired", "Leases whose worker did not come back",
                                      labels=["channel"])  # fmt: skip
        with self._rt.reading() as db:
            kept = {one.channel: one for one in db.scalars(select(ChannelStatus))}
        for name in self._rt.channels:
            one = kept.get(name)
            still_open = one is not None and one.open_until is not None and one.open_until > self._rt.now()
            paused.add_metric([name], float(one is not None and one.paused_at is not None))
            breaker.add_metric([name], float(still_open))
            expired.add_metric([name], one.leases_expired if one else 0)
        yield from (paused, breaker, expired)

    def _attempt_ends(self) -> Metric:
        with self._rt.reading() as db:
            self._count_new(db)
        ends = CounterMetricFamily("fabu_attempts", "Attempts by how they ended", labels=["channel", "result"])
        for name in self._rt.channels:
            for result in Result:
                ends.add_metric([name, result.value], self._attempts[name, result])
        return ends

    def _count_new(self, db: Session) -> None:
        """Count the ends since the last time, up to the first that is too young to be sure of those before it."""
        if self._counted is None:
            self._counted = db.scalar(select(func.max(AttemptEnd.id))) or 0
        young = select(AttemptEnd.id).where(AttemptEnd.id > self._counted, AttemptEnd.at > self._rt.now() - SETTLING)
        first_young = db.scalar(young.order_by(AttemptEnd.id).limit(1))
        old = select(func.max(AttemptEnd.id)).where(AttemptEnd.id > self._counted)
        if first_young is not None:
            old = old.where(AttemptEnd.id < first_young)
        upto = db.scalar(old)  # an id that is there: those between it and the first young one may still come
        if upto is None:
            return
        new = (
            select(Delivery.channel, AttemptEnd.result, func.count())
            .join(Delivery, Delivery.id == AttemptEnd.delivery_id)
            .where(AttemptEnd.id > self._counted, AttemptEnd.id <= upto)
            .group_by(Delivery.channel, AttemptEnd.result)
        )
        for channel, result, count in db.execute(new):
            self._attempts[channel, result] += count
        self._counted = upto

    def _processes(self) -> Iterable[Metric]:
        seen = GaugeMetricFamily("fabu_last_seen_timestamp_seconds", "When the process was last seen at work",
                                 labels=["kind", "host"])  # fmt: skip
        listed = health.processes(self._rt)
        latest = {(one.kind, one.host): one.seen_at for one in reversed(listed)}
        for (kind, host), seen_at in latest.items():
            seen.add_metric([kind.value, host], seen_at.timestamp())
        alive = GaugeMetricFamily("fabu_alive", "Processes of this kind that are at work", labels=["kind"])
        for kind in health.Kind:
            working = [one for one in listed if one.kind is kind and health.is_alive(self._rt, one.seen_at)]
            alive.add_metric([kind.value], len(working))
        yield from (seen, alive)

    def _feeds(self) -> Iterable[Metric]:
        read = GaugeMetricFamily("fabu_feed_read_timestamp_seconds", "When the feed could last be read",
                                 labels=["feed"])  # fmt: skip
        failing = GaugeMetricFamily("fabu_feed_failing", "The last visit to the feed failed", labels=["feed"])
        with self._rt.reading() as db:
            feeds = db.scalars(select(Feed).order_by(Feed.url)).all()
        for feed in feeds:
            parts = urlsplit(feed.url)
            name = f"{parts.hostname or ''}{parts.path}"  # neither password nor query
            if feed.read_at is not None:
                read.add_metric([name], feed.read_at.timestamp())
            failing.add_metric([name], float(bool(feed.error)))
        yield from (read, failing)

    def _backups(self) -> Iterable[Metric]:
        taken = GaugeMetricFamily("fabu_backup_timestamp_seconds", "When the newest nightly backup was finished")
        failing = GaugeMetricFamily("fabu_backup_failing", "The last try to make one failed")
        status = backup.status(self._rt)
        if status.newest is not None:
            taken.add_metric([], status.newest.stat().st_mtime)
        failing.add_metric([], float(bool(status.code)))
        yield from (taken, failing)
