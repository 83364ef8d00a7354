"""Everything that can be wrong for a while in a simulation, each with a name.

A fault is a set of values for one place: the network's conditions, the link of one address, the name servers, or a
registrar's :class:`~sipprofile.testing.faults.Faults`. What happens in one moment (a restart, a move, a rebinding) is
in :mod:`~sipprofile.testing.simulation.faults`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from sipprofile.testing.simulation.sites import Site

Draw = Callable[[random.Random, Site], dict[str, Any]]
"""The values of one occurrence; the site is the one that is hit."""

NETWORK: Mapping[str, Draw] = {
    "loss": lambda chosen, site: {"loss": 0.05 + 0.4 * chosen.random()},
    "delay": lambda chosen, site: {"delay": 0.05 + 0.6 * chosen.random()},
    "jitter": lambda chosen, site: {"jitter": 0.1 + 2.0 * chosen.random()},
    "duplication": lambda chosen, site: {"duplication": 0.1 + 0.4 * chosen.random()},
    "reordering": lambda chosen, site: {"reordering": 0.1 + 0.4 * chosen.random()},
    "dead address": lambda chosen, site: {"dead": {chosen.choice(site.addresses)}},
    "dead site": lambda chosen, site: {"dead": set(site.addresses)},
    "closed port": lambda chosen, site: {"closed": {chosen.choice(site.addresses)}},
    "TCP refused": lambda chosen, site: {"tcp_refused": set(site.addresses)},
    "TCP silent": lambda chosen, site: {"tcp_silent": set(site.addresses)},
    "no fragments": lambda chosen, site: {"fragments_dropped": True},
    "small packets only": lambda chosen, site: {"mtu": 576, "fragments_dropped": True},
}

LINK: Mapping[str, Draw] = {
    "lossy link": lambda chosen, site: {"loss": 0.3 + 0.6 * chosen.random()},
    "slow link": lambda chosen, site: {"delay": 0.5 + 2.0 * chosen.random(), "jitter": chosen.random()},
    "doubling link": lambda chosen, site: {"duplication": 0.8, "reordering": 0.3},
}

NAMES: Mapping[str, Draw] = {
    "silent name server": lambda chosen, site: {"silent": True},
    "failing name server": lambda chosen, site: {"failing": True},
    "no such domain": lambda chosen, site: {"missing": {site.name}},
    "no such host": lambda chosen, site: {"missing": {chosen.choice(site.hosts)}},
    "short negative answers": lambda chosen, site: {"missing": {site.name}, "negative_ttl": 1.0},
}


def _status(*statuses: int, **others: Any) -> Draw:
    return lambda chosen, site: {"status": chosen.choice(statuses), **others}


def _values(**values: Any) -> Draw:
    return lambda chosen, site: dict(values)


REGISTRAR: Mapping[str, Draw] = {
    # no answer, or not quite one
    "silent": _values(silent=True),
    "100 only": _values(trying_only=True),
    "lossy": lambda chosen, site: {"drop": 0.3 * chosen.random(), "drop_answers": 0.5 * chosen.random()},
    "slow": lambda chosen, site: {"answer_delay": 0.2 + 3.0 * chosen.random(), "trying": chosen.random() < 0.5},
    "late answers": lambda chosen, site: {"answer_delay": 40.0, "trying": chosen.random() < 0.5},
    "duplicate answers": _values(duplicate_answers=True),
    "answers from another port": _values(answer_port=5099),
    "garbage": lambda chosen, site: {"garbage": 0.3 + 0.7 * chosen.random()},
    # refusals
    "503 with Retry-After": lambda chosen, site: {"status": 503, "retry_after": chosen.choice((5, 30, 90))},
    "500 with Retry-After": lambda chosen, site: {"status": 500, "retry_after": chosen.choice((5, 30, 90))},
    "503": _status(503),
    "500": _status(500, 501, 502, 504),
    "408": _status(408),
    "430": _status(430),
    "403": _status(403),
    "404": _status(404, 410),
    "480": _status(480, 491),
    "494": _status(494),
    "4xx": _status(400, 402, 405, 406, 413, 414, 415, 416, 439, 481, 488, 499),
    "513": _status(513, 555, 505),
    "6xx": _status(600, 603, 604, 606, 699),
    "420": _values(unsupported=("path",)),
    "421": _values(required=("sec-agree",)),
    "305": lambda chosen, site: {"redirect": f"<sip:{site.name}>", "redirect_status": chosen.choice((300, 305, 380))},
    "301 inside": lambda chosen, site: {"redirect": f"<sip:alt.{site.name}>", "redirect_status": 301},
    "302 inside": lambda chosen, site: {"redirect": f"<sip:alt.{site.name}>;expires=60"},
    "302 in circles": lambda chosen, site: {"redirect": f"<sip:{site.name}>"},
    "302 outside": _values(redirect="<sip:elsewhere.example>"),
    "one contact": _values(max_contacts=1),
    # credentials
    "several algorithms": _values(algorithms=("SHA-256", "MD5")),
    "unknown algorithm": _values(unknown_algorithm_first=True),
    "other scheme": _values(other_scheme='Bearer realm="one.test", authz_server="https://auth.test/"'),
    "no qop": _values(qop=False),
    "other qop": _values(qop="auth-int,auth"),
    "foreign realm": _values(two_challenges=True),
    "proxy in front": lambda chosen, site: {"first_realm": f"proxy.{site.name}"},
    "always stale": _values(always_stale=True),
    "nonce for 5 s": _values(nonce_lifetime=5.0),
    "nonce for 3 s without stale": _values(nonce_lifetime=3.0, stale_without_flag=True),
    "new nonce each time": _values(one_time_nonces=True),
    "new nonce each time without stale": _values(one_time_nonces=True, stale_without_flag=True),
    "callers challenged": _values(challenge_requests=True),
    "opaque": lambda chosen, site: {"opaque": f"{chosen.getrandbits(32):x}"},
    # grants
    "short grants": lambda chosen, site: {"maximum_expires": chosen.choice((20, 45, 90))},
    "longer than wished": lambda chosen, site: {"min_expires": chosen.choice((200, 700, 1000))},
    "423 without sense": lambda chosen, site: {
        "too_brief": chosen.choice(("", "0", "x", "-5", "9" * 30, "60", "2400"))
    },
    "part of the wish": lambda chosen, site: {"grant_fraction": 0.2 + 0.5 * chosen.random()},
    # no longer than the time for which the end of a simulation waits: what is dropped without SIP lasts as long
    "more than the wish": lambda chosen, site: {
        "grant_fraction": 1.5 + 3.0 * chosen.random(),
        "maximum_expires": 3600,
    },
    "nothing granted": _values(zero_grant=True),
    # contacts in the 200
    "no contacts": _values(omit_contact=True),
    "our contact missing": _values(omit_own_contact=True),
    "contacts reordered": _values(reverse_contacts=True, expires_in_header=True),
    "contact alias": _values(contact_alias=True),
    "contact port": _values(contact_port=5080),
    "foreign contacts": lambda chosen, site: {
        "extra_contacts": [
            f"<sip:desk{number}@192.0.2.77:5070>;expires={chosen.randrange(1, 99)}" for number in range(9)
        ]
    },
}

NOT_YET: dict[str, str] = {}
"""Faults that the service does not cope with, with the reason; they happen with ``--fault NAME`` alone."""
