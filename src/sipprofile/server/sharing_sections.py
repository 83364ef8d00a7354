"""The parts of the configuration about what applications receive: who may claim it, and who is started for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from ..agents.claim_fields import CLAIMED
from ..service.claim_rules import ClaimRule
from ..service.settings import LONGEST_HOLD
from .accounts import gid_of, uid_of

_is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch
_is_unit = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.\\@-]*\.(?:service|socket|target)").fullmatch  # systemd.unit(5)


class RuleSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[claims.rules]]``: see :class:`~sipprofile.service.claim_rules.ClaimRule`."""

    profiles: tuple[str, ...] = ("*",)
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    exclusive: bool = True

    def rule(self) -> ClaimRule:
        """As the core knows it. A name that this machine does not know allows nobody anything."""
        uids = {uid for uid in map(uid_of, self.users) if uid is not None}
        gids = {gid for gid in map(gid_of, self.groups) if gid is not None}
        return ClaimRule(
            profiles=self.profiles,
            uids=frozenset(uids),
            gids=frozenset(gids),
            tokens=frozenset(self.tokens),
            nobody=bool(self.users or self.groups),
            methods=self.methods,
            events=self.events,
            exclusive=self.exclusive,
        )


class ClaimsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[claims]``: who may claim what."""

    rules: tuple[RuleSection, ...] = ()

    def unknown(self) -> list[str]:
        """Users and groups that this machine does not know."""
        users = [f"user {name}" for rule in self.rules for name in rule.users if uid_of(name) is None]
        return users + [f"group {name}" for rule in self.rules for name in rule.groups if gid_of(name) is None]

    def core_rules(self) -> tuple[ClaimRule, ...]:
        """As the core knows them."""
        return tuple(section.rule() for section in self.rules)


class ActivateSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[activate.NAME]``: an application that is started when a request comes for it: a command, or a unit."""

    command: tuple[str, ...] = ()
    unit: str | None = None
    timeout: Annotated[float, msgspec.Meta(ge=0.1, le=LONGEST_HOLD)] = LONGEST_HOLD


def mistakes(claims: ClaimsSection, sections: dict[str, ActivateSection]) -> Iterator[tuple[str, str]]:
    """What the types cannot say: (key, sentence)."""
    for number, rule in enumerate(claims.rules):
        if not set(rule.methods) <= set(CLAIMED):
            yield f"claims.rules[{number}].methods", f"Expected methods among {', '.join(CLAIMED)}"
    for name, section in sections.items():
        if _is_name(name) is None:
            yield f"activate.{name}", "A name has letters, digits, '.', '_' and '-', at most 64"
        elif (section.unit is None) == (not section.command):
            yield f"activate.{name}", "Expected either command or unit"
        elif section.command and not section.command[0].startswith("/"):
            yield f"activate.{name}.command", "Expected the program with its whole path, then its arguments"
        elif section.unit is not None and _is_unit(section.unit) is None:
            yield f"activate.{name}.unit", "Expected the name of a systemd unit such as bot.service"
