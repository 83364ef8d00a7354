"""Feature tags: what a user agent can do, and whom a caller prefers (RFC 3840 §5 and §9, RFC 3841 §7.2 and §9.2).

A feature set has for each tag the values that fit. Two sets meet where some value of each common tag is in both.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import msgspec

from sipprofile.sip.headers import parse_params, split_list
from sipprofile.sip.syntax import LWS, SipSyntaxError, excerpt, quoted_end, unquote

MAXIMUM_PREFERENCES = 16
"""Accept-Contact and Reject-Contact values of one request that are looked at."""
MAXIMUM_VALUES = 64
"""Values of one tag, and tags of one set."""

BASE_TAGS = frozenset(
    {"actor", "application", "audio", "automata", "class", "control", "data", "description", "duplex", "events"}
    | {"extensions", "isfocus", "language", "methods", "mobility", "priority", "schemes", "text", "type", "video"}
)
"""The tags that are written without ``+`` (RFC 3840 §9); every other begins with it."""

_is_other_tag = re.compile(r"\+[A-Za-z][A-Za-z0-9!'.\-%_]*").fullmatch
_is_token_value = re.compile(r"[A-Za-z0-9\-.%*_+`'~:/]+").fullmatch  # ":" and "/" as deployed values have them
_NUMBER = r"([+-]?[0-9]{1,12}(?:\.[0-9]{0,6})?)"
_numeric = re.compile(rf"#(?:(>=|<=|=){_NUMBER}|{_NUMBER}:{_NUMBER})")
_OPPOSITE = {"true": "false", "false": "true"}

Value = str | tuple[float, float]
"""A token in lower case, ``<text>`` as it is, or the limits of a range of numbers."""


class Values(msgspec.Struct, frozen=True, gc=False):
    """The values of one tag that fit: one of ``any_of`` (all, when that is empty), and none of ``none_of``."""

    any_of: tuple[Value, ...] = ("true",)
    none_of: tuple[Value, ...] = ()

    def meets(self, other: Values) -> bool:
        """Whether a value fits both."""
        refused = self.none_of + other.none_of
        if not self.any_of or not other.any_of:
            common = self.any_of or other.any_of
            if not common:
                return True  # whatever both refuse, there are more words than that
            words, ranges = {value for value in common if isinstance(value, str)}, _union(common)
        else:
            words = {value for value in self.any_of if isinstance(value, str)}.intersection(other.any_of)
            ranges = _common(_union(self.any_of), _union(other.any_of))
        if not words.issubset(refused):
            return True
        holes = _union(refused) if ranges else []
        return any(not _covered(value, holes) for value in ranges)


class Preference(msgspec.Struct, frozen=True, gc=False):
    """One value of Accept-Contact or Reject-Contact (RFC 3841 §9.2)."""

    features: dict[str, Values]
    require: bool = False
    """Those whom it does not fit get nothing."""
    explicit: bool = False
    """It fits only those who say something about each of its tags."""


def is_feature_tag(name: str) -> bool:
    """Whether a Contact parameter of this name is a feature tag (RFC 3840 §9)."""
    return name.lower() in BASE_TAGS or _is_other_tag(name) is not None


def parse_feature(text: str) -> tuple[str, Values]:
    """One tag as a Contact has it: ``audio``, ``language="en,de"``, ``+g.oma.sip-im``. Raises SipSyntaxError."""
    name, equals, value = text.partition("=")
    name = name.strip(LWS)
    if not is_feature_tag(name):
        raise SipSyntaxError(f"{excerpt(name)} is not a feature tag; those of no RFC's base set begin with '+'")
    if not equals:
        return name.lower(), Values()
    value = value.strip(LWS)
    if value.startswith('"') and quoted_end(value, 0) != len(value):
        raise SipSyntaxError(f"more than one quoted string in {excerpt(value)}")
    return name.lower(), _values(unquote(value))


def parse_preferences(value: str) -> list[Preference]:
    """An Accept-Contact or Reject-Contact header line (RFC 3841 §9.2, §9.3).

    Parameters that are no feature tags are ignored. Raises SipSyntaxError.
    """
    found = []
    elements = split_list(value)
    if len(elements) > MAXIMUM_PREFERENCES:
        raise SipSyntaxError(f"there are more than {MAXIMUM_PREFERENCES} values; leave some out")
    for element in elements:
        star, _, rest = element.partition(";")
        if star.strip(LWS) != "*":
            raise SipSyntaxError(f"the preference {excerpt(element)} does not begin with '*'")
        params = parse_params(rest)
        features = {
            name: Values() if text is None else _values(text) for name, text in params.items() if is_feature_tag(name)
        }
        if len(features) > MAXIMUM_VALUES:
            raise SipSyntaxError(f"a preference has more than {MAXIMUM_VALUES} tags; leave some out")
        found.append(Preference(features, "require" in params, "explicit" in params))
    return found


def rejected(preferences: Iterable[Preference], capabilities: Mapping[str, Values]) -> bool:
    """Whether one of the Reject-Contact ``preferences`` fits (RFC 3841 §7.2.4).

    It can only fit who says something about each of its tags.
    """
    return any(
        preference.features
        and all(
            name in capabilities and capabilities[name].meets(values) for name, values in preference.features.items()
        )
        for preference in preferences
    )


def score(preferences: Sequence[Preference], capabilities: Mapping[str, Values]) -> float:
    """How well ``capabilities`` fit all Accept-Contact ``preferences``, from 0 to 1 (RFC 3841 §7.2.4).

    0 also where one of them requires what does not fit.
    """
    total = 0.0
    counted = 0
    for preference in preferences:
        if not preference.features:
            continue
        counted += 1
        found = 0
        for name, values in preference.features.items():
            own = capabilities.get(name)
            if own is None:
                continue
            if not own.meets(values):
                found = -1
                break
            found += 1
        if found < 0 or (preference.explicit and found < len(preference.features)):
            if preference.require:
                return 0.0
        else:
            total += found / len(preference.features)
    return total / counted if counted else 0.0


def _values(text: str) -> Values:
    """The values in the quotes (RFC 3840 §5): those with ``!`` are excluded, of the others one must fit."""
    if text.startswith("<"):
        if not text.endswith(">") or len(text) < 2:
            raise SipSyntaxError(f"the string {excerpt(text)} lacks its closing '>'")
        return Values((text,))
    parts = text.split(",", MAXIMUM_VALUES)
    if len(parts) > MAXIMUM_VALUES:
        raise SipSyntaxError(f"a tag has more than {MAXIMUM_VALUES} values; leave some out")
    any_of: list[Value] = []
    none_of: list[Value] = []
    for part in parts:
        part = part.strip(LWS)
        negated = part.startswith("!")
        value = _value(part[1:] if negated else part)
        if negated and isinstance(value, str) and value in _OPPOSITE:  # there are two of them only
            negated, value = False, _OPPOSITE[value]
        (none_of if negated else any_of).append(value)
    return Values(tuple(any_of), tuple(none_of))


def _value(text: str) -> Value:
    if not text.startswith("#"):
        if _is_token_value(text) is None:
            raise SipSyntaxError(f"{excerpt(text)} is not a value of a feature tag")
        return text.lower()
    found = _numeric.fullmatch(text)
    if found is None:
        raise SipSyntaxError(f"{excerpt(text)} is not a number with '#=', '#>=', '#<=' or a range 'a:b'")
    relation, number, low, high = found.groups()
    if relation is None:
        if float(low) > float(high):
            raise SipSyntaxError(f"no number is in the range {excerpt(text)}; its lower end comes first")
        return float(low), float(high)
    limit = float(number)
    return limit if relation != "<=" else float("-inf"), limit if relation != ">=" else float("inf")


Range = tuple[float, float]


def _union(values: Iterable[Value]) -> list[Range]:
    """The ranges among them in order, those that touch each other as one."""
    union: list[Range] = []
    for low, high in sorted(value for value in values if not isinstance(value, str)):
        if union and low <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], high)
        else:
            union.append((low, high))
    return union


def _common(one: list[Range], other: list[Range]) -> list[Range]:
    """The numbers that are in both unions."""
    common = []
    first = second = 0
    while first < len(one) and second < len(other):
        low, high = max(one[first][0], other[second][0]), min(one[first][1], other[second][1])
        if low <= high:
            common.append((low, high))
        if one[first][1] < other[second][1]:
            first += 1
        else:
            second += 1
    return common


def _covered(value: Range, union: Sequence[Range]) -> bool:
    """Whether the ``union`` holds all of ``value``."""
    place = bisect_right(union, value[0], key=itemgetter(0)) - 1
    return place >= 0 and union[place][1] >= value[1]
