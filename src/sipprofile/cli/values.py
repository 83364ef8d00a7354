"""``KEY=VALUE`` on the command line: from text to a profile's values."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, get_type_hints

import click
import msgspec

from ..profile import Bridge, Profile, ServerParameters

NUMBERS = (int, int | None, float, bool)
SECRETS = frozenset({"password", "private_key"})


def key_and_value(text: str) -> tuple[str, str]:
    """Split ``KEY=VALUE`` at the first ``=``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE.")
    return key, value


def extension_value(text: str) -> Any:
    """``5``, ``true`` and ``["a", "b"]`` are what they look like in JSON; everything else is text."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    fits = isinstance(value, (bool, int, str)) or (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    )
    return value if fits else text


def patch_of(assignments: tuple[str, ...], current: dict[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7396) for ``registrar.uri=…``, ``labels.site=…``, ``proxies.0.uri=…``, ``expires=``.

    An empty value takes a setting back to its default. Lists cannot be merged, so a change in ``proxies`` sends
    those of ``current`` with it.
    """
    patch: dict[str, Any] = {}
    for assignment in assignments:
        key, text = key_and_value(assignment)
        path = ["labels" if key.startswith("label.") else key.partition(".")[0], *key.split(".")[1:]]
        if path[-1] in SECRETS and text:
            how = "use --password-file or --proxy-password-file" if path[-1] == "password" else "use --key"
            raise click.UsageError(f"{path[-1]} is never an argument; {how}.")
        if path[0] == "proxies" and len(path) > 1:
            _set_proxy(patch, current, path, text)
        else:
            _put(patch, _members(path), _value(path, text))
    return patch


def _members(path: list[str]) -> list[str]:
    """The names that lead to a value; names of labels and extensions may contain dots."""
    if path[0] in ("labels", "extensions") and len(path) > 1:
        return [path[0], ".".join(path[1:])]
    if path[0] in ("registrar", "tls", "bridge") and len(path) > 1:
        return [path[0], *_members(path[1:])]
    return [".".join(path)]


def _put(document: dict[str, Any], members: list[str], value: Any) -> None:
    for name in members[:-1]:
        document = document.setdefault(name, {})
    document[members[-1]] = value


def _set_proxy(patch: dict[str, Any], current: dict[str, Any], path: list[str], text: str) -> None:
    proxies = patch.setdefault("proxies", deepcopy(current.get("proxies", [])))
    if len(path) < 3 or not path[1].isdecimal() or int(path[1]) > len(proxies):
        raise click.UsageError(f"proxies.N.KEY=VALUE, N from 0 to {len(proxies)} (a new one), not {'.'.join(path)}.")
    if int(path[1]) == len(proxies):
        proxies.append({})
    members, value = _members(path[2:]), _value(["registrar", *path[2:]], text)
    if value is None and members != ["password"]:  # in a list null does not clear, but for a password
        proxies[int(path[1])].pop(members[0], None)
    else:
        _put(proxies[int(path[1])], members, value)


def _value(path: list[str], text: str) -> Any:
    """``text`` as the field's type wants it; ``None``, which clears, when it is empty."""
    if not text:
        return None
    if "extensions" in path[:2] and path[-1] != "extensions":
        return extension_value(text)
    if path[0] == "registrar" and len(path) > 1:
        wanted: Any = get_type_hints(ServerParameters).get(path[1])
    elif path[0] == "bridge" and len(path) > 1:
        wanted = get_type_hints(Bridge).get(path[1])
    else:
        wanted = get_type_hints(Profile).get(path[0]) if len(path) == 1 else str
    if wanted == list[str] and not text.startswith("["):
        return [text]
    try:
        if path == ["claims"]:
            return msgspec.json.decode(text, type=list[dict[str, Any]])
        if wanted == list[str]:
            return msgspec.json.decode(text, type=list[str])
        return msgspec.convert(text, wanted, strict=False) if wanted in NUMBERS else text
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"{'.'.join(path)} cannot be {text!r}: {error}.") from None
