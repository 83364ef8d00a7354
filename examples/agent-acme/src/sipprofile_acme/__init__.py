"""The profile type ``acme``: RFC 3261 registration with a parameter, a header and an answer of its own."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from sipprofile.agents.base import Plan, Problem, Verdict
from sipprofile.agents.ietf import IetfAgent
from sipprofile.profile import Profile, ProfileType
from sipprofile.sip.headers import is_token, parse_params
from sipprofile.sip.message import Response
from sipprofile.sip.syntax import SipSyntaxError

SITE = "acme.site"
SITE_FIELD = f"extensions.{SITE}"
MAXIMUM_SITE = 32  # characters

MOVING = "17"  # cause of "the registrar moves your account to another host"
MOVING_TIME = 15.0  # seconds that Acme needs for it


class AcmeAgent(IetfAgent):
    """Everything that is not said here is as the type ``ietf`` has it."""

    type: ClassVar[ProfileType] = ProfileType("acme", "other")
    extensions: ClassVar[dict[str, str]] = {SITE: "The Acme site of this user, a token; sent as X-Acme-Site."}

    def problems(self, profile: Profile) -> list[Problem]:
        """A profile of this type needs its site."""
        found = super().problems(profile)
        site = profile.extensions.get(SITE)
        if site is None:
            found.append(Problem("missing_field", SITE_FIELD, f"Acme needs the extension parameter {SITE}."))
        elif not isinstance(site, str) or not is_token(site) or len(site) > MAXIMUM_SITE:
            shown = site if isinstance(site, str | int) else None
            detail = f"{SITE} is a token of at most {MAXIMUM_SITE} characters."
            found.append(Problem("invalid_value", SITE_FIELD, detail, shown))
        return found

    def plan(self, profile: Profile, contact_token: str) -> Plan:
        """The plan of ``ietf`` with the header X-Acme-Site."""
        plan = super().plan(profile, contact_token)
        header = f"X-Acme-Site: {profile.extensions[SITE]}"
        return msgspec.structs.replace(plan, headers=(*plan.headers, header))

    def judge(self, plan: Plan, response: Response) -> Verdict | None:
        """480 with ``Reason: acme;cause=17`` (RFC 3326 §2): the account is moving, come back in 15 s."""
        if response.status == 480 and any(_cause(value) == MOVING for value in response.headers("reason")):
            return Verdict("retry", after=MOVING_TIME, text="Acme moves the account to another host.")
        return None


def _cause(reason: str) -> str | None:
    """The cause of a Reason header of the protocol ``acme``; ``None`` for all else, malformed included."""
    protocol, _, params = reason.partition(";")
    if protocol.strip().lower() != "acme":
        return None
    try:
        return parse_params(params).get("cause")
    except SipSyntaxError:
        return None
