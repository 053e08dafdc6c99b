"""Who of a channel's subscribers is told of what: those who chose one of its groups, and those who chose none.

Nobody is told of what they did not agree to (个人信息保护法, art. 14): who chose groups is told of these only. Somebody
without a group agreed to everything, as whoever brought in the list wrote down.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from config.settings import GroupSection, Settings
from pipeline.decisions import Refused
from pipeline.models import Delivery, Revision, StoredRendition, Submission, Subscriber, SubscriberGroup


def groups(settings: Settings) -> tuple[GroupSection, ...]:
    """The groups that there are."""
    return settings.subscription.groups if settings.subscription is not None else ()


def of_type(settings: Settings, item_type: str) -> tuple[str, ...]:
    """The groups that an item of this type goes to, unless its submission says otherwise."""
    return tuple(one.id for one in groups(settings) if item_type in one.item_types)


def chosen(settings: Settings, given: Collection[str]) -> tuple[str, ...]:
    """The ids of groups that were given by id or name, in the office's order. Raises Refused for one that is none."""
    there = groups(settings)
    if unknown := sorted(set(given) - {one.id for one in there} - {one.name for one in there}):
        known = "、".join(one.name for one in there)
        raise Refused("subscribers.no_such_group", given=unknown[0], known=known)
    return tuple(one.id for one in there if one.id in given or one.name in given)


def of_submission(settings: Settings, db: Session, submission_id: int) -> tuple[str, ...]:
    """The groups that a submission goes to, as it was approved."""
    row = db.execute(
        select(Submission.groups, Revision.item_type)
        .join(Revision, Revision.id == Submission.revision_id)
        .where(Submission.id == submission_id)
    ).one()
    return of_type(settings, row.item_type) if row.groups is None else tuple(row.groups.split())


def of_slot(settings: Settings, db: Session, slot_id: int) -> tuple[str, ...]:
    """The groups that what a slot wants goes to; none where it wants nothing."""
    wanted = select(StoredRendition.submission_id).join(Delivery, Delivery.wanted_id == StoredRendition.id)
    submission = db.scalar(wanted.where(Delivery.id == slot_id))
    return of_submission(settings, db, submission) if submission is not None else ()


def told(ids: Collection[str]) -> ColumnElement[bool]:
    """Is a row of `Subscriber` told of what goes to these groups?"""
    own = SubscriberGroup.subscriber_id == Subscriber.id
    everything = ~exists().where(own)
    return or_(everything, exists().where(own, SubscriberGroup.group_id.in_(ids))) if ids else everything
