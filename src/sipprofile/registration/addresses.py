"""Which profile a SIP URI may mean: by the user part of our contacts, addresses-of-record and GRUUs."""

from __future__ import annotations

import re

from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri
from .rare import NO_GRUU, USUAL_FLOW
from .registration import Flow, Registration

NONE: frozenset[str] = frozenset()
_plain = re.compile(r"sips?:([A-Za-z0-9_.+-]+)@[a-z0-9.-]+").fullmatch
"""What most addresses-of-record look like; everything else is parsed."""


class Addresses:
    """An index; whoever looks something up sees for himself whether what is found fits."""

    __slots__ = ("_learnt", "_users", "tokens")

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}
        """The profile whose Contact has this user part. A fixed one may be that of several; the last counts."""
        self._users: dict[str, int | tuple[int, ...]] = {}
        """Profiles with this user part in their AOR, in an identity that was registered with it, or in a GRUU; those
        too whose Contact has it because their settings say so."""
        self._learnt: dict[int, frozenset[str]] = {}
        """What of that a profile has learnt from answers."""

    def of(self, user: str) -> tuple[int, ...]:
        """The profiles one of whose identities has this user part."""
        found = self._users.get(user, ())
        return (found,) if isinstance(found, int) else found

    def add(self, registration: Registration) -> None:
        """A registration begins, or has other settings."""
        profile = registration.profile
        self.tokens[registration.plan.contact_user] = profile
        for user in _settled(registration):
            self._add(user, profile)
        self.learn(registration)

    def settle(self, token: str, user: str, profile: int) -> None:
        """A registration begins of which nothing is known but the users of its Contact and its AOR."""
        self.tokens[token] = profile
        if user not in self._users:
            self._users[user] = profile
        else:
            self._add(user, profile)

    def remove(self, registration: Registration) -> None:
        """A registration, or its settings, are about to go."""
        profile = registration.profile
        if self.tokens.get(registration.plan.contact_user) == profile:
            del self.tokens[registration.plan.contact_user]
        for user in _settled(registration) | self._learnt.pop(profile, NONE):
            self._remove(user, profile)

    def learn(self, registration: Registration) -> None:
        """An answer may have told other identities or GRUUs than the one before."""
        profile, aor = registration.profile, registration.plan.aor
        flows = registration.flows
        before = self._learnt.get(profile, NONE)
        if not before and all(_says_nothing(flow, aor) for flow in flows):
            return
        uris = {uri for flow in flows for uri in (*flow.registered_aors, *flow.gruu) if uri}
        users = frozenset(user for user in map(_user, uris) if user) - _settled(registration)
        for user in before - users:
            self._remove(user, profile)
        for user in users - before:
            self._add(user, profile)
        if users:
            self._learnt[profile] = users
        else:
            self._learnt.pop(profile, None)

    def _add(self, user: str, profile: int) -> None:
        known = self.of(user)
        if profile not in known:
            self._users[user] = (*known, profile) if known else profile

    def _remove(self, user: str, profile: int) -> None:
        left = tuple(other for other in self.of(user) if other != profile)
        if left:
            self._users[user] = left if len(left) > 1 else left[0]
        else:
            self._users.pop(user, None)


def _says_nothing(flow: Flow, aor: str) -> bool:
    """Whether its last answer told nothing that the settings do not say."""
    if flow.registered_aors and flow.registered_aors != (aor,):
        return False
    return flow.rare is USUAL_FLOW or flow.gruu == NO_GRUU


def _settled(registration: Registration) -> frozenset[str]:
    """The user parts that the settings say."""
    plan = registration.plan
    user = _user(plan.aor)
    if user is not None and plan.credentials is not None and plan.credentials.username == user:
        user = plan.credentials.username  # one object for both
    users = {user} if user else set()
    if plan.contact_user != registration.first.contact_token:
        users.add(plan.contact_user)
    return frozenset(users)


def _user(uri: str) -> str | None:
    plain = _plain(uri)
    if plain is not None:
        return plain[1]
    try:
        return Uri.parse(uri).user
    except SipSyntaxError:  # a tel URI among the identities, for one
        return None
