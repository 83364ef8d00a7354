"""Writes the table of answers in docs/protocol.md from the one in the code: python docs/generate_protocol.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sipprofile.events import REASONS
from sipprofile.registration.answers import SILENCE, TABLE, Row, Step
from sipprofile.sip.names import REASONS as PHRASES

PAGE = Path(__file__).with_name("protocol.md")
BEGIN = "<!-- answers: made by docs/generate_protocol.py from registration/answers.py -->\n"
END = "<!-- end of answers -->\n"

HEAD = """\
| answer | what happens | where next | when | a lease that lives | the target | what is told |
|---|---|---|---|---|---|---|
"""
CLASSES = {300: "any other 3xx", 400: "any other 4xx", 500: "any other 5xx", 600: "any other 6xx"}


def table() -> str:
    """The rows of the table, in the order of their status."""
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows())


def rows() -> Iterator[tuple[str, ...]]:
    """The cells of each row."""
    for status, row in TABLE.items():
        name = "2xx" if status == 200 else f"{status} {PHRASES[status]}"
        if status in CLASSES:
            name += f", {CLASSES[status]}"
        yield cells(name, row)
    yield cells("none, or only 1xx", SILENCE)


def cells(name: str, row: Row) -> tuple[str, ...]:
    """One row: what is the same for all is said above the table."""
    what, where, when = row.step.value
    if row.step is Step.GRANT:
        return (f"{name} ({row.source})", what, where, when, "begins anew", "is up", "`none`")
    lease = "ends: `registered` is left at once" if row.leave else "holds until its end"
    if row.step is Step.CHALLENGE:
        lease = "ends when the credentials are refused"
    target = "counts as down" if row.down else "is up"
    what = what or "the attempt failed"
    if row.unknown:
        what += "; a binding that may exist all the same is removed when nobody wants one"
    sentence = REASONS[row.reason].replace("{text}", "…")
    told = "`response`" if row.reason == "response" else f"`{row.reason}`: {sentence}"
    return (f"{name} ({row.source})", what, where, when, lease, target, told)


def page(text: str) -> str:
    """docs/protocol.md with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
