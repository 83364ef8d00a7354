"""The audit log's file and lines."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.server.audit import AuditLog
from sipprofile.service.audit import Asker, Auditor
from sipprofile.service.effects import Audit

SENT = Audit(1_767_225_600.25, "uid 1000", "com.example.bot", 7, "out", "MESSAGE", "sip:bob@example.test", 200)


class Log:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda words, **facts: self.lines.append((level, words, facts))


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    path.write_text("before\n")
    log = Log()
    audit = AuditLog(log, str(path))
    for number in range(1000):
        audit.write(SENT, number / 1000)
    audit.close()
    first, *lines = path.read_text().splitlines()
    assert (first, len(lines), log.lines) == ("before", 1000, [])
    assert json.loads(lines[-1]) == {
        "at": "2026-01-01T00:00:00.250+00:00",
        "who": "uid 1000",
        "app": "com.example.bot",
        "profile": 7,
        "direction": "out",
        "method": "MESSAGE",
        "uri": "sip:bob@example.test",
        "status": 200,
    }


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    AuditLog(Log(), str(tmp_path / "audit")).close()
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SipProfileError) as caught:
        AuditLog(Log(), str(tmp_path / "missing" / "audit"))
    assert (caught.value.code, caught.value.field) == ("bad_configuration", "service.audit")


def test_without_a_file_the_lines_go_to_the_log_as_many_as_it_takes() -> None:
    log = Log()
    audit = AuditLog(log, None)
    for _ in range(1000):
        audit.write(SENT, 5.0)
    assert len(log.lines) == 100
    level, words, facts = log.lines[0]
    assert (level, words, facts["who"], facts["status"]) == ("info", "sip request", "uid 1000", 200)
    assert "code" not in facts


def test_what_a_stranger_wrote_cannot_make_a_second_line(tmp_path: Path) -> None:
    audit = AuditLog(Log(), str(tmp_path / "audit"))
    audit.write(Audit(0.0, "uid 1", "a", 1, "in", "MESSAGE", "<sip:b\n{}\udce9@c>", code="timed_out"), 0.0)
    audit.close()
    (line,) = (tmp_path / "audit").read_text().splitlines()
    assert json.loads(line)["uri"] == "<sip:b\n{}\ufffd@c>"
    assert json.loads(line)["code"] == "timed_out"


def test_a_full_disk_is_complained_about_now_and_then() -> None:
    log = Log()
    audit = AuditLog(log, "/dev/full")
    for second in range(120):
        audit.write(SENT, float(second))
    audit.close()
    assert [words for _, words, _ in log.lines] == ["the audit log cannot be written"] * 2


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sip:bob:pw@example.test", "sip:bob:...@example.test"),
        ('"Bob" <SIPS:bob:p%3Aw@example.test>;tag=a', '"Bob" <SIPS:bob:...@example.test>;tag=a'),
        ("sip:bob:" + "p" * 600 + "@example.test", "sip:bob:...@example.test"),
        ("sip:bob@example.test:5060", "sip:bob@example.test:5060"),
        ("sip:example.test:5060;x=1", "sip:example.test:5060;x=1"),
        ("tel:+4930", "tel:+4930"),
    ],
)
def test_a_password_in_a_uri_is_not_in_it(uri: str, shown: str) -> None:
    lines: list[Any] = []
    Auditor(lines.append, lambda: 0.0).note(Asker("root"), 1, "out", "MESSAGE", uri, 1.0)
    assert lines[0].uri == shown


def test_long_uris_take_linear_time() -> None:
    auditor = Auditor(lambda _: None, lambda: 0.0)
    begin = process_time()
    auditor.note(Asker("root"), 1, "out", "MESSAGE", "sip:a:" * 200_000, 1.0)
    assert process_time() - begin < 0.5
