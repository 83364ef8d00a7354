"""Users and groups of this machine, by name or number."""

from __future__ import annotations

import grp
import pwd


def uid_of(name: str) -> int | None:
    """The uid of a user, ``None`` when this machine does not know the name."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def gid_of(name: str) -> int | None:
    """The gid of a group, ``None`` when this machine does not know the name."""
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
