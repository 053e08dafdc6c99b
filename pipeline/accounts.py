"""Ways in: passwords, signed-in browsers, and tokens for programs.

Passwords are kept as argon2id (RFC 9106, the library's defaults); cookies and tokens only as their SHA-256. Five wrong
passwords in a row lock an account for a quarter of an hour. A password that somebody else has set must be changed.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from config.settings import Person
from pipeline import staff
from pipeline.decisions import Actor, Decision, Refused, audit, permit
from pipeline.models import Account, ApiToken, SignedIn, StoredPerson
from pipeline.runtime import Runtime

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 200
WRONG_TRIES = 5
LOCKED = timedelta(minutes=15)
IDLE = timedelta(hours=8)  # a working day: autosave keeps what was typed
LONGEST = timedelta(hours=16)
_FRESH = timedelta(minutes=1)  # how stale "last seen" may be: not every page writes

_hasher = PasswordHasher()


@cache
def _nobody() -> str:
    """An unknown name takes as long as a known one. Made when first asked for: every command loads this module."""
    return _hasher.hash(secrets.token_hex())


@dataclass(frozen=True)
class Visitor:
    """Who is signed in. `csrf`: what their forms must carry; `must_change`: nothing but a new password may be set."""

    person: Person
    csrf: str
    must_change: bool = False


def sign_in(rt: Runtime, name: str, password: str) -> str:
    """A new cookie for the person of this id or name. Raises Refused: wrong, or locked for a while."""
    now = rt.now()
    with rt.reading() as db:
        found = db.execute(
            select(Account.person, Account.password_hash, Account.locked_until)
            .join(StoredPerson, StoredPerson.id == Account.person)
            .where((StoredPerson.id == name) | (StoredPerson.name == name), StoredPerson.active)
            .limit(1)
        ).one_or_none()
    if found is not None and found.locked_until is not None and found.locked_until > now:
        raise Refused("account.locked", until=found.locked_until.astimezone(rt.settings.zone).strftime("%H:%M"))
    # Outside the transaction: hashing is slow on purpose, and would hold up every writer of the ledger.
    right = _matches(found.password_hash if found is not None else _nobody(), password[:LONGEST_PASSWORD])
    if found is None:
        raise _wrong()
    with rt.writing() as db:
        account = db.get_one(Account, found.person, with_for_update=True)
        if right and account.password_hash == found.password_hash:
            account.failures, account.locked_until = 0, None
            return _open(db, account.person, now)
        account.failures += 1
        if account.failures >= WRONG_TRIES:
            account.failures, account.locked_until = 0, now + LOCKED
    raise _wrong()


def _wrong() -> Refused:
    return Refused("account.wrong", tries=str(WRONG_TRIES), minutes=str(int(LOCKED.total_seconds() // 60)))


def visitor(rt: Runtime, token: str) -> Visitor | None:
    """Who holds this cookie; None when nobody does, or not any more."""
    if not token:
        return None
    key, now = _digest(token), rt.now()
    with rt.reading() as db:
        found = db.execute(
            select(SignedIn, StoredPerson, Account)
            .join(StoredPerson, StoredPerson.id == SignedIn.person)
            .join(Account, Account.person == SignedIn.person)
            .where(SignedIn.token_hash == key, StoredPerson.active)
        ).one_or_none()
        if found is None:
            return None
        signed_in, row, account = found
        if now > signed_in.seen_at + IDLE or now > signed_in.since + LONGEST:
            return None
        person, must_change = staff.read_person(row), account.must_change
        stale = now > signed_in.seen_at + _FRESH
    if stale:
        with rt.writing() as db:
            db.execute(update(SignedIn).where(SignedIn.token_hash == key).values(seen_at=now))
    return Visitor(person, _digest(f"csrf {token}")[:40], must_change)


def sign_out(rt: Runtime, token: str) -> None:
    with rt.writing() as db:
        db.execute(delete(SignedIn).where(SignedIn.token_hash == _digest(token)))


def change_password(rt: Runtime, actor: Actor, old: str, new: str) -> str:
    """Set one's own password. All one's browsers are signed out; returns the cookie for this one. Raises Refused."""
    with rt.writing() as db:
        account = db.get(Account, actor.person.id, with_for_update=True)
        if account is None or not _matches(account.password_hash, old):
            raise Refused("account.old_wrong")
        if new == old:
            raise Refused("account.same_password")
        _require_strong(actor.person, new)
        _set(db, actor.person.id, new, rt.now(), must_change=False)
        audit(rt, db, actor, Decision.PASSWORD, None, person=actor.person.id)
        return _open(db, actor.person.id, rt.now())


def give_password(rt: Runtime, actor: Actor, person_id: str) -> str:
    """A first password for somebody else, shown once; it must be changed at the first sign-in. Raises Refused."""
    permit(actor, Decision.ACCOUNT)
    person = staff.person(rt, person_id)
    password = first_password(rt, person.id)
    with rt.writing() as db:
        audit(rt, db, actor, Decision.ACCOUNT, None, person=person.id)
    return password


def reset_password(rt: Runtime, actor: Actor) -> str:
    """A first password for the actor, by whoever has the data directory in hand: how a locked-out administrator gets
    in again."""
    password = first_password(rt, actor.person.id)
    with rt.writing() as db:
        audit(rt, db, actor, Decision.PASSWORD, None, person=actor.person.id)
    return password


def first_password(rt: Runtime, person_id: str) -> str:
    """Set a password that somebody else will have seen; it must be changed at the first sign-in."""
    password = "-".join(secrets.token_hex(2) for _ in range(3))
    with rt.writing() as db:
        _set(db, person_id, password, rt.now(), must_change=True)
    return password


def without_account(rt: Runtime) -> bool:
    """Has nobody ever been given a password?"""
    with rt.reading() as db:
        return not db.scalar(select(func.count()).select_from(Account))


def accounts(rt: Runtime) -> dict[str, Account]:
    """The accounts there are, by person."""
    with rt.reading() as db:
        return {account.person: account for account in db.scalars(select(Account))}


# ── tokens for programs ──────────────────────────────────────────────────────────────────────────────────────────────


def make_token(rt: Runtime, actor: Actor, label: str) -> str:
    """A token with the actor's own rights, shown once. Raises Refused without a label."""
    label = label.strip()[:80]
    if not label:
        raise Refused("account.label_missing")
    token = f"fabu_{secrets.token_urlsafe(32)}"
    with rt.writing() as db:
        db.add(ApiToken(token_hash=_digest(token), person=actor.person.id, label=label, made_at=rt.now()))
        audit(rt, db, actor, Decision.TOKEN, None, made=label)
    return token


def revoke_token(rt: Runtime, actor: Actor, id: int) -> None:
    """End a token: one's own, or any for an administrator. Raises Refused."""
    with rt.writing() as db:
        token = db.get(ApiToken, id)
        if token is None or (token.person != actor.person.id and "admin" not in actor.person.roles):
            raise Refused("account.unknown_token")
        token.revoked_at = token.revoked_at or rt.now()
        audit(rt, db, actor, Decision.TOKEN, None, revoked=token.label, person=token.person)


def tokens(rt: Runtime, person_id: str) -> list[ApiToken]:
    """The live tokens of a person, newest first."""
    with rt.reading() as db:
        mine = select(ApiToken).where(ApiToken.person == person_id, ApiToken.revoked_at.is_(None))
        return list(db.scalars(mine.order_by(ApiToken.id.desc())))


def bearer(rt: Runtime, token: str) -> Visitor | None:
    """Who a program speaks for; None when the token is unknown or revoked."""
    now = rt.now()
    with rt.reading() as db:
        found = db.execute(
            select(ApiToken, StoredPerson)
            .join(StoredPerson, StoredPerson.id == ApiToken.person)
            .where(ApiToken.token_hash == _digest(token), ApiToken.revoked_at.is_(None), StoredPerson.active)
        ).one_or_none()
        if found is None:
            return None
        kept, person, stale = found[0].id, staff.read_person(found[1]), found[0].used_at
    if stale is None or now > stale + _FRESH:
        with rt.writing() as db:
            db.execute(update(ApiToken).where(ApiToken.id == kept).values(used_at=now))
    return Visitor(person, "")


# ── underneath ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _matches(known: str, password: str) -> bool:
    try:
        return _hasher.verify(known, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def _open(db: Session, person_id: str, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    db.execute(delete(SignedIn).where(SignedIn.since < now - LONGEST))
    db.add(SignedIn(token_hash=_digest(token), person=person_id, since=now, seen_at=now))
    return token


def _set(db: Session, person_id: str, password: str, now: datetime, *, must_change: bool) -> None:
    account = db.get(Account, person_id, with_for_update=True) or Account(person=person_id)
    account.password_hash, account.must_change, account.changed_at = _hasher.hash(password), must_change, now
    account.failures, account.locked_until = 0, None
    db.add(account)
    db.execute(delete(SignedIn).where(SignedIn.person == person_id))


def _require_strong(person: Person, password: str) -> None:
    """Long rather than odd (NIST SP 800-63B): ten characters, not one's own name, not one and the same character."""
    if len(password) < SHORTEST_PASSWORD:
        raise Refused("account.password_short", least=str(SHORTEST_PASSWORD))
    if len(password) > LONGEST_PASSWORD:
        raise Refused("account.password_long", most=str(LONGEST_PASSWORD))
    plain = password.lower()
    if person.id.lower() in plain or person.name in plain or len(set(plain)) < 5 or plain in _COMMON:
        raise Refused("account.password_weak")


_COMMON = frozenset({"1234567890", "0123456789", "qwertyuiop", "password123", "woaini1314", "a123456789"})
