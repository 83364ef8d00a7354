"""Configuration rows: writing a profile, removing it, the default, and the queries over them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile
from sipprofile.records import (
    ConfigurationWrite,
    FlowRecord,
    ProfileRecord,
    PutProfile,
    Query,
    RemoveProfile,
    SetDefault,
)
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri
from sipprofile.store import documents, history, journal
from sipprofile.store.database import driver
from sipprofile.store.journal import Journal
from sipprofile.store.schema import labels, profiles
from sipprofile.store.secrets import KeyRing

if TYPE_CHECKING:
    _Row = Row[int, str, int, bool, str, str]

_rows = select(
    profiles.c.id,
    profiles.c.aor,
    profiles.c.revision,
    profiles.c.is_default,
    profiles.c.held,
    profiles.c.document,
).order_by(profiles.c.id)
_new = upsert(profiles)
_put = _new.on_conflict_do_update(
    index_elements=[profiles.c.id],
    set_={column.name: column for column in _new.excluded if column.name not in ("id", "is_default")},
)


def write(connection: Connection, writes: tuple[ConfigurationWrite, ...], keys: KeyRing, flows: Journal) -> None:
    """Write in order, in the caller's transaction; raises ``store_failed`` for a profile that is absent."""
    of_new: list[FlowRecord] = []
    for change in writes:
        if isinstance(change, PutProfile):
            _put_profile(connection, change, keys)
            flows.places.add(change.profile.id)
            of_new += change.flows
        elif isinstance(change, RemoveProfile):
            connection.execute(delete(profiles).where(profiles.c.id == change.profile))
            history.remove(driver(connection), change.profile)
            flows.places.remove(change.profile)
        elif isinstance(change, SetDefault):
            _set_default(connection, change.profile)
        else:
            statement = update(profiles).where(profiles.c.id == change.profile).values(held=change.held)
            if connection.execute(statement).rowcount == 0:
                raise _absent(change.profile)
    flows.append(of_new)
    _keep_one_default(connection)


def _put_profile(connection: Connection, change: PutProfile, keys: KeyRing) -> None:
    profile = change.profile
    document, key_id = documents.sealed(profile, keys)
    connection.execute(
        _put,
        {
            "id": profile.id,
            "name": profile.name,
            "type": profile.type,
            "aor": profile.aor,
            "aor_key": aor_key(profile.aor),
            "revision": change.revision,
            "is_default": False,
            "held": change.held,
            "key_id": key_id,
            "document": document,
        },
    )
    connection.execute(delete(labels).where(labels.c.profile == profile.id))
    if profile.labels:
        rows = [{"profile": profile.id, "key": key, "value": value} for key, value in profile.labels.items()]
        connection.execute(insert(labels), rows)
    if profile.default:
        _set_default(connection, profile.id)


def _set_default(connection: Connection, profile: int) -> None:
    connection.execute(update(profiles).where(profiles.c.is_default, profiles.c.id != profile).values(is_default=False))
    if connection.execute(update(profiles).where(profiles.c.id == profile).values(is_default=True)).rowcount == 0:
        raise _absent(profile)


def _keep_one_default(connection: Connection) -> None:
    """While there are profiles one is the default: when none is, the one with the lowest id becomes it."""
    if connection.execute(select(profiles.c.id).where(profiles.c.is_default)).first() is None:
        first = select(func.min(profiles.c.id)).scalar_subquery()
        connection.execute(update(profiles).where(profiles.c.id == first).values(is_default=True))


def _absent(profile: int) -> SipProfileError:
    return SipProfileError("store_failed", f"The store has no profile {profile}.")


def read(connection: Connection, query: Query, keys: KeyRing) -> list[ProfileRecord]:
    """One page of the profiles that match."""
    wanted = _aor(query.aor) if query.aor is not None else None
    found: list[_Row] = []
    for row in connection.execute(_matching(query)):
        if wanted is None or _same_aor(row.aor, wanted):
            found.append(row)
            if len(found) == query.limit:
                break
    own = journal.of_profiles(driver(connection), {row.id for row in found}) if query.flows else {}
    return [_record(row, keys, own.get(row.id, ())) for row in found]


def _matching(query: Query) -> Select[int, str, int, bool, str, str]:
    statement = _rows.where(profiles.c.id > query.after)
    if query.ids is not None:
        statement = statement.where(profiles.c.id.in_(_numbers(query.ids)))
    if query.name is not None:
        statement = statement.where(profiles.c.name == query.name)
    if query.type is not None:
        statement = statement.where(profiles.c.type == query.type)
    if query.default:
        statement = statement.where(profiles.c.is_default)
    if query.label is not None:
        key, equals, value = query.label.partition("=")
        labelled = select(labels.c.profile).where(labels.c.key == key)
        if equals:
            labelled = labelled.where(labels.c.value == value)
        statement = statement.where(profiles.c.id.in_(labelled))
    if query.aor is not None:
        return statement.where(profiles.c.aor_key == aor_key(query.aor))  # several may share it: read() decides
    return statement.limit(query.limit)


def _numbers(values: Sequence[int]) -> Select[Any]:
    """A subquery with these numbers, however many."""
    each = func.json_each(msgspec.json.encode(values).decode()).table_valued("value")
    return select(each.c.value)


def _record(row: _Row, keys: KeyRing, own: tuple[FlowRecord, ...]) -> ProfileRecord:
    profile = documents.opened(row.id, row.document, row.is_default, keys)
    return ProfileRecord(profile, row.revision, row.held, own)


def reseal(connection: Connection, keys: KeyRing, new: KeyRing) -> None:
    """Seal every secret anew, with the current key of ``new``, in the caller's transaction."""
    statement = "UPDATE profiles SET document = ?, key_id = ? WHERE id = ?"
    sealed = connection.execute(select(profiles.c.id, profiles.c.document).where(profiles.c.key_id.is_not(None)))
    for number, document in sealed.all():
        profile: Profile = documents.opened(number, document, False, keys)
        connection.exec_driver_sql(statement, (*documents.sealed(profile, new), number))


def aor_key(aor: str) -> str:
    """The same text for all URIs that may be equal (RFC 3261 §19.1.4); unequal ones may share it."""
    uri = _aor(aor)
    if isinstance(uri, str):
        return uri.lower()
    host = uri.host
    if host.startswith("["):
        host = f"[{IPv6Address(host[1:-1])}]"
    return f"{unquote(uri.user or '').lower()}@{host}:{uri.port or ''}"


def _aor(text: str) -> Uri | str:
    try:
        return Uri.parse(text)
    except SipSyntaxError:
        return text  # a type of profile may have addresses that are no SIP URIs


def _same_aor(aor: str, wanted: Uri | str) -> bool:
    found = _aor(aor)
    if isinstance(found, str) or isinstance(wanted, str):
        return found == wanted
    return found.equivalent(wanted)
