"""The daemon's configuration: a TOML file, then the command line's options, then where things are by default.

``docs/configuration.md`` documents every key. A mistake is a ``bad_configuration`` error that names file, line, key
and value.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

import msgspec

from ..errors import SipProfileError
from ..events import EventName
from ..profile import value_at
from ..registration.settings import RegistrationSettings
from ..service.policy import CAPABILITIES
from ..service.settings import ServiceSettings
from . import sharing_sections
from .sharing_sections import ActivateSection, ClaimsSection

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class ServiceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[service]``: where things are, and the log."""

    state: str | None = None
    socket: str | None = None
    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    audit: str | None = None


class ListenSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[listen]``: the HTTP interface on TCP, off unless a port is given."""

    host: str = "127.0.0.1"
    port: Port | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class SipSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[sip]``: local addresses, and the name servers."""

    bind: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("0.0.0.0", "::")
    port: Port = 0
    tcp_listen: bool = True
    nameservers: tuple[str, ...] = ()


class RegistrationSection(RegistrationSettings, frozen=True, forbid_unknown_fields=True):
    """``[registration]``: what :class:`RegistrationSettings` says, and the grace after a start."""

    resume_grace: float = ServiceSettings().resume_grace


class AccessSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[access]``: capabilities of the Unix socket's peers, by user and by group."""

    users: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = msgspec.field(default_factory=lambda: {"sipprofile": ["read", "use"]})


class LimitsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[limits]``: how much of a thing there may be."""

    sessions: Count = ServiceSettings().sessions
    holds: Count = ServiceSettings().holds
    answers: Count = ServiceSettings().answers
    requests: Count = ServiceSettings().requests
    event_streams: Count = 100
    session_requests: Count = ServiceSettings().session_requests
    session_dialogs: Count = ServiceSettings().session_dialogs


class TokenSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[token_sources.NAME]``: where access tokens (RFC 8898) come from: a file, or what a command prints."""

    file: str | None = None
    command: tuple[str, ...] = ()


class WebhookSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[webhooks.NAME]``: an HTTP server that is told of events, and that may answer requests."""

    url: str
    secret_file: str
    timeout: Annotated[float, msgspec.Meta(ge=0.1, le=20)] = 5.0
    events: tuple[EventName, ...] = ()
    profiles: tuple[str, ...] = ("*",)

    def __repr__(self) -> str:
        return "WebhookSection(…)"  # a URL may hold a token


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; every section and every key may be left out."""

    service: ServiceSection = ServiceSection()
    listen: ListenSection = ListenSection()
    sip: SipSection = SipSection()
    registration: RegistrationSection = RegistrationSection()
    access: AccessSection = AccessSection()
    limits: LimitsSection = LimitsSection()
    token_sources: dict[str, TokenSource] = {}
    webhooks: dict[str, WebhookSection] = {}
    claims: ClaimsSection = ClaimsSection()
    activate: dict[str, ActivateSection] = {}

    def service_settings(self) -> ServiceSettings:
        """What the service core is told."""
        return ServiceSettings(
            registration=self.registration,
            resume_grace=self.registration.resume_grace,
            sessions=self.limits.sessions,
            holds=self.limits.holds,
            answers=self.limits.answers,
            requests=self.limits.requests,
            claim_rules=self.claims.core_rules(),
            activate=tuple((name, section.timeout) for name, section in self.activate.items()),
            session_requests=self.limits.session_requests,
            session_dialogs=self.limits.session_dialogs,
            token_sources=tuple(self.token_sources),
            webhooks=tuple(self.webhooks),
        )


REGISTRATION_RANGES: dict[str, tuple[float, float]] = {
    "rate": (0.01, 100_000),
    "burst": (1, 100_000),
    "probe_interval": (0, 30 * 86400),
    "t1": (0.01, 10),
    "t2": (0.1, 60),
    "open_limit": (0.1, 300),
    "resolve_limit": (0.1, 300),
    "canary_interval": (1, 3600),
    "backoff_base": (1, 3600),
    "backoff_base_alive": (1, 3600),
    "backoff_maximum": (1, 86400),
    "udp_keepalive": (0, 3600),
    "stream_keepalive": (0, 86400),
    "resume_grace": (0, 86400),
}


def load(path: Path | None) -> Configuration:
    """Read the file at ``path``; ``None`` reads the usual place, where a missing file means the defaults."""
    wanted = path if path is not None else default_file()
    try:
        text = wanted.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return Configuration()
        raise SipProfileError("bad_configuration", f"{wanted}: no such file.", value=str(wanted)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SipProfileError("bad_configuration", f"{wanted} cannot be read: {error}.") from None
    return decode(text, str(wanted))


def decode(text: str, name: str) -> Configuration:
    """The configuration in ``text``; ``name`` is what errors call the file."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SipProfileError("bad_configuration", f"{name}: {error}.") from None
    except RecursionError:
        raise SipProfileError("bad_configuration", f"{name}: It is nested too deeply.") from None
    try:
        configuration = msgspec.convert(document, Configuration)
    except msgspec.ValidationError as error:
        sentence, _, place = str(error).partition(" - at `$")
        key = _named(document, place.rstrip("`").lstrip("."))
        if sentence.startswith("Object contains unknown field"):
            unknown = sentence.split("`")[1]
            key = f"{key}.{unknown}" if key else unknown
            sentence = "There is no such key"
        _refuse(text, name, document, key, sentence)
    for key, sentence in _mistakes(configuration):
        _refuse(text, name, document, key, sentence)
    return configuration


def _named(document: dict[str, Any], key: str) -> str:
    """``key`` with the name of the section in it, of which msgspec says only that it is one of several."""
    section, of_many, rest = key.partition("[...]")
    entries = document.get(section)
    if not of_many or not isinstance(entries, dict):
        return key
    for name, entry in entries.items():
        try:
            msgspec.convert({section: {name: entry}}, Configuration)
        except msgspec.ValidationError:
            return f"{section}.{name}{rest}"
    return key


def _mistakes(configuration: Configuration) -> list[tuple[str, str]]:
    """What the types cannot say: (key, sentence)."""
    found: list[tuple[str, str]] = []
    for name, (lowest, highest) in REGISTRATION_RANGES.items():
        if not lowest <= getattr(configuration.registration, name) <= highest:
            found.append((f"registration.{name}", f"Expected a number from {lowest:g} to {highest:g}"))
    if any(character < " " for character in configuration.registration.user_agent):
        found.append(("registration.user_agent", "Expected one line of text"))
    listen = configuration.listen
    if (listen.tls_certificate is None) != (listen.tls_key is None):
        given = "tls_key" if listen.tls_certificate is None else "tls_certificate"
        found.append((f"listen.{given}", "tls_certificate and tls_key go together"))
    for number, address in enumerate(configuration.sip.bind):
        if not _numeric(address):
            found.append((f"sip.bind[{number}]", "Expected a numeric IP address"))
    for number, server in enumerate(configuration.sip.nameservers):
        host, _, port = server.rpartition(":")
        with_port = port.isdecimal() and _numeric(host.removeprefix("[").removesuffix("]"))
        if not _numeric(server) and not with_port:
            found.append((f"sip.nameservers[{number}]", "Expected a numeric IP address"))
    found.extend(sharing_sections.mistakes(configuration.claims, configuration.activate))
    for name, source in configuration.token_sources.items():
        if (source.file is None) == (not source.command):
            found.append((f"token_sources.{name}", "Expected either file or command"))
    for name, webhook in configuration.webhooks.items():
        if _webhook_name(name) is None:
            found.append((f"webhooks.{name}", "Expected a name of letters, digits, '.', '_' and '-', at most 64"))
        if (mistake := _url_mistake(webhook.url)) is not None:
            found.append((f"webhooks.{name}.url", mistake))
    for name in ("users", "groups"):
        for who, capabilities in getattr(configuration.access, name).items():
            if not set(capabilities) <= set(CAPABILITIES):
                found.append((f"access.{name}.{who}", f"Expected a list of {', '.join(CAPABILITIES)}"))
    return found


_webhook_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch


def _url_mistake(text: str) -> str | None:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "Expected an https:// or http:// URL"
    if url.scheme not in ("https", "http") or not url.hostname or port == 0 or not text.isprintable() or " " in text:
        return "Expected an https:// or http:// URL"
    return "A URL with a user name or password is not taken" if "@" in url.netloc else None


def _numeric(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _refuse(text: str, name: str, document: Mapping[str, Any], key: str, sentence: str) -> NoReturn:
    line = line_of(text, key)
    where = name if line is None else f"{name}, line {line}"
    value = None if key.startswith("webhooks.") and key.endswith(".url") else value_at(document, key)
    shown = "" if value is None or isinstance(value, dict) else f" (not {value!r})"
    raise SipProfileError(
        "bad_configuration",
        f"{where}: {key}: {sentence}{shown}.",
        field=key,
        value=repr(value) if isinstance(value, list) else value,  # no secret is ever in this file
        line=line,
    )


def line_of(text: str, key: str) -> int | None:
    """The line on which the statement that gives ``key`` (``listen.port``, ``sip.bind[1]``) begins, from 1.

    tomllib knows no lines, so the shortest beginning of the file that has the key is looked for. That costs a parse
    per line, in case of a mistake only.
    """
    path = [part for part in key.replace("[...]", "").replace("[", ".[").split(".") if part and part[0] != "["]
    lines = text.splitlines(keepends=True)
    begin = 1
    for number in range(1, len(lines) + 1):
        try:
            document: Any = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:  # in the middle of a statement
            continue
        for part in path:
            document = document.get(part) if isinstance(document, dict) else None
        if document is not None:
            return begin
        begin = number + 1
    parent = key.rpartition(".")[0]
    return line_of(text, parent) if parent else None


def default_file() -> Path:
    """Below systemd's ``$CONFIGURATION_DIRECTORY``, else ``/etc/sipprofile/sipprofile.toml`` for root, else
    ``$XDG_CONFIG_HOME/sipprofile/sipprofile.toml``."""
    given = os.environ.get("CONFIGURATION_DIRECTORY")
    if given:
        return Path(given, "sipprofile.toml")
    if os.geteuid() == 0:
        return Path("/etc/sipprofile/sipprofile.toml")
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home, "sipprofile", "sipprofile.toml")


def default_state() -> Path:
    """systemd's ``$STATE_DIRECTORY``, ``/var/lib/sipprofile`` for root, else below ``$XDG_STATE_HOME``."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/sipprofile")
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home, "sipprofile")


def default_socket() -> Path:
    """systemd's ``$RUNTIME_DIRECTORY``, ``/run/sipprofile/sock`` for root, else below ``$XDG_RUNTIME_DIR``."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0], "sock")
    if os.geteuid() == 0:
        return Path("/run/sipprofile/sock")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime, "sipprofile", "sock")
    raise SipProfileError(
        "bad_configuration", "There is no XDG_RUNTIME_DIR; say where the socket shall be with --socket."
    )
