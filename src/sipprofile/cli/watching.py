"""``watch``: profiles as they change; in place on a terminal, line by line otherwise."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..errors import SipProfileError
from .output import COLOURS, COLUMNS, as_json_line, clock, event_line, profile_row
from .target import Target, connected

if TYPE_CHECKING:
    from rich.table import Table

    from ..client.http import HttpClient

FIRST_DELAY = 0.2  # seconds before connecting again
LONGEST_DELAY = 5.0

Show = Callable[[dict[str, Any]], None]


@click.command()
@connected
@click.argument("name", metavar="[NAME]", required=False)
def watch(target: Target, name: str | None) -> None:
    """Follow all profiles (needs the capability 'control') or one, until Ctrl-C."""
    seen = _Profiles()
    show: Show
    try:
        with target.open() as http:
            id_ = None if name is None else http.profile_id(name)
            if target.json:
                _follow(http, id_, seen, lambda event: click.echo(as_json_line(event)))
            elif sys.stdout.isatty():
                with _in_place(seen) as show:
                    _follow(http, id_, seen, show)
            else:
                _follow(http, id_, seen, lambda event: click.echo(event_line(event)))
    except KeyboardInterrupt:
        pass


class _Profiles:
    """What is known of every profile, by id."""

    def __init__(self) -> None:
        self.documents: dict[int, dict[str, Any]] = {}

    def load(self, http: HttpClient, id_: int | None) -> None:
        found = http.profiles() if id_ is None else [http.request("GET", f"/v1/profiles/{id_}")]
        self.documents = {document["id"]: document for document in found}

    def apply(self, event: dict[str, Any]) -> None:
        id_ = event["profile"]
        if event["event"] == "destroyed":
            self.documents.pop(id_, None)
        elif "document" in event:
            self.documents[id_] = event["document"]
        elif id_ in self.documents and "state" in event:
            self.documents[id_]["registration"] = event["state"]


def _follow(http: HttpClient, id_: int | None, seen: _Profiles, show: Show) -> None:
    """Show events for ever; connects again when the service was gone, and goes on after the last event."""
    last: str | None = None
    delay = 0.0
    while True:
        try:
            stream = http.events(profile=id_, last=last)
            if last is None:  # after subscribing, so that nothing falls between
                with http.beside() as other:
                    seen.load(other, id_)
            delay = 0.0
            for event in stream:
                last = event.id or last
                if event.name == "reset":
                    with http.beside() as other:
                        seen.load(other, id_)
                elif "profile" in event.data:
                    seen.apply(event.data)
                    show(event.data)
        except SipProfileError as error:
            first = last is None and not seen.documents
            if first or error.code not in ("service_gone", "service_unavailable", "shutting_down"):
                raise
        if not delay:
            show({"event": "service_gone", "profile": 0, "at": time.time()})
        delay = min(LONGEST_DELAY, delay * 2 or FIRST_DELAY)
        time.sleep(delay * random.uniform(0.5, 1.0))


@contextmanager
def _in_place(seen: _Profiles) -> Iterator[Show]:
    """A table that is kept up to date, and the latest event below it."""
    from rich.live import Live

    latest = ""

    def table() -> Table:
        return _table(list(seen.documents.values()), latest)

    with Live(get_renderable=table, refresh_per_second=2, vertical_overflow="ellipsis") as live:

        def show(event: dict[str, Any]) -> None:
            nonlocal latest
            latest = event_line(event)
            live.refresh()

        yield show


def _table(documents: list[dict[str, Any]], latest: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    now = time.time()
    table = Table(*COLUMNS, box=None, title=f"sipprofile {clock(now)}", caption=Text(latest), caption_justify="left")
    for document in documents:
        row = profile_row(document, now)
        table.add_row(
            *(Text(cell, style=COLOURS.get(cell, "") if index == 4 else "") for index, cell in enumerate(row))
        )
    return table
