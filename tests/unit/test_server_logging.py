"""The log: what a person wants to know, bounded in lines, without secrets."""

from __future__ import annotations

import io
import json
import logging as standard
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipprofile.events import Event, Reason, RegistrationState
from sipprofile.server import logging
from sipprofile.server.logging import LINES_A_SECOND, EventLog, RateBound

REGISTERED = RegistrationState("registered", target="192.0.2.1:5060", expires_granted=3600, users=1)


@pytest.fixture(autouse=True)
def standard_logging() -> Iterator[None]:
    """``configure`` takes the root logger over; give it back."""
    root = standard.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Lines:
    """An event log and what it has written."""

    def __init__(self, level: str = "info") -> None:
        self.stream = io.StringIO()
        self.log = logging.configure("json", level, self.stream)
        self.events = EventLog(self.log, level)

    def publish(self, name: Any, state: RegistrationState | None = None, **members: Any) -> list[dict[str, Any]]:
        """The lines that this event makes."""
        before = len(self.written())
        self.events.publish(Event(name, 1, "line", state, **members), 0.0)
        return self.written()[before:]

    def written(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


class TestEvents:
    def test_registered(self) -> None:
        (line,) = Lines().publish("registered", REGISTERED)
        assert (line["event"], line["level"], line["profile"]) == ("registered", "info", "line")
        assert (line["target"], line["expires"]) == ("192.0.2.1:5060", 3600)

    def test_who_uses_and_who_left(self) -> None:
        lines = Lines()
        assert lines.publish("status", RegistrationState("unregistered", users=1))[0]["event"] == "in use"
        assert lines.publish("status", RegistrationState("unregistered", users=2))[0]["users"] == 2
        assert lines.publish("status", RegistrationState("unregistered", users=1))[0]["event"] == "left"
        assert lines.publish("status", RegistrationState("unregistered", users=1)) == []

    def test_refresh_is_for_debugging(self) -> None:
        lines = Lines()
        lines.publish("registered", REGISTERED)
        assert lines.publish("status", REGISTERED) == []
        assert Lines("debug").publish("status", RegistrationState("unregistered"))[0]["level"] == "debug"

    def test_error_says_why_and_when_it_is_tried_again(self) -> None:
        state = RegistrationState("registering", reason=Reason.of("response", 503, "Busy"), attempt=2, next_try=130.0)
        (line,) = Lines().publish("error", state, at=100.0)
        assert (line["level"], line["code"], line["attempt"], line["retry_in"]) == ("warning", "response", 2, 30.0)
        assert line["reason"] == "The registrar answered 503 Busy."

    def test_document_is_not_logged(self) -> None:
        (line,) = Lines().publish("created", document={"registrar": {"username": "somebody"}})
        assert "somebody" not in json.dumps(line)

    def test_removed_profile_is_forgotten(self) -> None:
        lines = Lines()
        lines.publish("status", RegistrationState("unregistered", users=1))
        lines.publish("destroyed")
        assert lines.publish("status", RegistrationState("unregistered", users=1))[0]["event"] == "in use"


class TestBound:
    def test_storm_is_cut_and_counted(self) -> None:
        lines = Lines()
        bound = RateBound(lines.log)
        assert sum(bound.passes(5.5) for _ in range(LINES_A_SECOND + 7)) == LINES_A_SECOND
        assert bound.passes(6.0)
        assert lines.written()[-1]["lines"] == 7


class TestForm:
    def test_text(self) -> None:
        stream = io.StringIO()
        logging.configure("text", "info", stream).info("ready", port=5060)
        assert "ready" in stream.getvalue()
        assert "port=5060" in stream.getvalue()
        assert not stream.getvalue().startswith("{")

    def test_text_has_columns_and_quotes_what_has_blanks(self) -> None:
        stream = io.StringIO()
        logging.configure("text", "info", stream).warning("left out", name="a b", count=3, why="plain")
        assert stream.getvalue()[9:] == "[warning  ] left out                       count=3 name='a b' why=plain\n"

    def test_a_terminal_gets_colours(self) -> None:
        stream = io.StringIO()
        stream.isatty = lambda: True  # type: ignore[method-assign]
        logging.configure("auto", "info", stream).error("damaged")
        assert "\x1b[1;31merror" in stream.getvalue()

    def test_a_stream_that_refuses_loses_lines(self) -> None:
        stream = io.StringIO()
        log = logging.configure("json", "info", stream)
        stream.close()
        log.info("ready")

    def test_what_is_no_json_is_shown_as_it_is(self) -> None:
        stream = io.StringIO()
        logging.configure("json", "info", stream).info("ready", path=Path("var"), at=None)
        line = json.loads(stream.getvalue())
        assert list(line) == ["path", "at", "event", "level", "timestamp"]
        assert line["path"] == repr(Path("var"))

    def test_auto_is_json_where_there_is_no_terminal(self) -> None:
        stream = io.StringIO()
        logging.configure("auto", "info", stream).info("ready")
        assert json.loads(stream.getvalue())["event"] == "ready"

    def test_level(self) -> None:
        stream = io.StringIO()
        log = logging.configure("json", "warning", stream)
        log.info("left out")
        assert stream.getvalue() == ""

    def test_libraries_log_here_too(self) -> None:
        stream = io.StringIO()
        logging.configure("json", "info", stream)
        standard.getLogger("some.library").error("bad %s", "thing")
        line = json.loads(stream.getvalue())
        assert (line["event"], line["source"], line["level"]) == ("bad thing", "some.library", "error")

    @pytest.mark.parametrize("form", ["text", "json"])
    def test_exception_shows_no_local_variables(self, form: str) -> None:
        stream = io.StringIO()
        log = logging.configure(form, "info", stream)
        password = "".join(["hun", "ter2"])
        try:
            raise ValueError(f"a password of {len(password)}")
        except ValueError:
            log.exception("mistake")
        assert "a password of 7" in stream.getvalue()
        assert "hunter2" not in stream.getvalue()
