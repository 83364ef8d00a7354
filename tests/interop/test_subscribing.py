"""Subscriptions and publications of an application, as Kamailio's presence server sees them (RFC 6665, RFC 3903)."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import pytest

import sipprofile
from running_service import RunningService

from .conftest import require
from .kamailio import Kamailio
from .stored_profile import StoredProfile

Add = Callable[..., StoredProfile]
ALICE = "sip:alice@example.test"
SHORT = 10  # seconds; refreshed after 5 to 6
PIDF = (
    '<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.test">'
    '<tuple id="t1"><status><basic>{}</basic></status></tuple></presence>'
)
KIND = "application/pidf+xml"


@dataclasses.dataclass(frozen=True)
class Subscribe:
    """One SUBSCRIBE with credentials that Kamailio accepted."""

    call_id: str
    in_dialog: bool
    expires: int


@pytest.fixture
def presence(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    """A Kamailio that keeps what users publish, and tells who subscribes."""
    require(Kamailio.module("presence_xml"), "Kamailio's presence_xml", "kamailio-presence-modules")
    require(Kamailio.module("db_sqlite"), "Kamailio's db_sqlite", "kamailio-sqlite-modules")
    return start_kamailio(reginfo=True, forwards=True, presence=True)


def subscribes(kamailio: Kamailio) -> list[Subscribe]:
    return [
        Subscribe(call_id, tag != "<null>", int(expires))
        for _, verdict, call_id, _, tag, expires in kamailio.marked("SUBSCRIBE-SEEN|", 6)
        if int(verdict) == 1
    ]


def watchers(kamailio: Kamailio) -> list[tuple[Any, ...]]:
    return kamailio.presence_rows("SELECT callid, local_cseq FROM active_watchers WHERE event = 'presence'")


def publications(kamailio: Kamailio) -> list[str]:
    """The entity tags of what is published."""
    return [etag for (etag,) in kamailio.presence_rows("SELECT etag FROM presentity WHERE event = 'presence'")]


async def until(kamailio: Kamailio, promise: Callable[[], bool], limit: float, what: str) -> None:
    await asyncio.to_thread(kamailio.wait_until, promise, limit, what)


async def test_both_are_kept_alive_and_given_back(presence: Kamailio, add_alice: Add, daemon: RunningService) -> None:
    profile = add_alice(presence)
    async with sipprofile.use(profile.name, app="org.example.watcher", url=daemon.url) as line:
        connection = await line.connection()
        publication = await connection.publish("presence", PIDF.format("open"), KIND, expires=SHORT)
        subscription = await connection.subscribe("presence", expires=SHORT, headers=[("Accept", KIND)])
        notifications = aiter(subscription)
        first = await asyncio.wait_for(anext(notifications), 5)
        assert (first.state, first.content_type) == ("active", KIND)
        assert "open" in first.text
        tags = set(publications(presence))
        (watcher,) = watchers(presence)
        await until(presence, lambda: len(subscribes(presence)) >= 5, 3 * SHORT, "four refreshes")
        assert [row[0] for row in watchers(presence)] == [watcher[0]]
        assert len(publications(presence)) == 1
        assert not tags & set(publications(presence))
        seen = subscribes(presence)
        assert all(each.in_dialog for each in seen[1:])
        assert len({each.call_id for each in seen}) == 1
        assert subscription.state == "active"
        (tag,) = publications(presence)
        await publication.modify(PIDF.format("closed"), KIND)
        (changed,) = publications(presence)
        assert changed != tag
        await until(
            presence, lambda: subscription.latest is not None and "closed" in subscription.latest.text, 5, "it is told"
        )
        await publication.remove()
        await until(presence, lambda: not publications(presence), 5, "the publication is removed")
        await subscription.unsubscribe()
        await asyncio.wait_for(subscription.ended(), 5)
    assert subscribes(presence)[-1].expires == 0
    assert watchers(presence) == []


async def test_a_subscription_that_the_server_forgot_goes_on(
    presence: Kamailio, add_alice: Add, daemon: RunningService
) -> None:
    """481 to a refresh (RFC 6665 §4.1.2.2), 412 to that of a publication (RFC 3903 §4.4)."""
    profile = add_alice(presence)
    async with sipprofile.use(profile.name, app="org.example.watcher", url=daemon.url) as line:
        connection = await line.connection()
        await connection.publish("presence", PIDF.format("open"), KIND, expires=SHORT)
        subscription = await connection.subscribe("presence", expires=SHORT, headers=[("Accept", KIND)])
        notifications = aiter(subscription)
        await asyncio.wait_for(anext(notifications), 5)
        (before,) = watchers(presence)
        presence.presence_rows("DELETE FROM active_watchers")
        presence.presence_rows("DELETE FROM presentity")
        await until(presence, lambda: bool(watchers(presence)), 10, "there is another subscription")
        await until(presence, lambda: bool(publications(presence)), 10, "it is published again")
        (after,) = watchers(presence)
        assert after[0] != before[0]
        again = await asyncio.wait_for(anext(notifications), 5)
        assert again.state == "active"
        assert subscription.state == "active"


CHILD = """
import asyncio, sys, sipprofile
async def main(url, name, pidf):
    async with sipprofile.use(name, app="org.example.crash", url=url) as line:
        connection = await line.connection()
        await connection.publish("presence", pidf, "application/pidf+xml", expires=600)
        await connection.subscribe("presence", expires=600, headers=[("Accept", "application/pidf+xml")])
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_an_application_that_is_killed_had_is_ended(
    presence: Kamailio, add_alice: Add, daemon: RunningService
) -> None:
    profile = add_alice(presence)
    arguments = ["-c", CHILD, daemon.url, profile.name, PIDF.format("open")]
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 20) == b"ready\n"
        assert len(watchers(presence)) == len(publications(presence)) == 1
    finally:
        child.kill()
        await child.wait()
    await until(presence, lambda: not watchers(presence), 5, "its subscription is ended")
    await until(presence, lambda: not publications(presence), 5, "its publication is removed")
    assert subscribes(presence)[-1].expires == 0
