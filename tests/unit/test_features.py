"""Feature tags and caller preferences (RFC 3840, RFC 3841)."""

from __future__ import annotations

import pytest

from sipprofile.sip.features import (
    MAXIMUM_PREFERENCES,
    MAXIMUM_VALUES,
    Values,
    parse_feature,
    parse_preferences,
    rejected,
    score,
)
from sipprofile.sip.syntax import SipSyntaxError


def capabilities(*features: str) -> dict[str, Values]:
    return dict(map(parse_feature, features))


def meet(one: str, other: str) -> bool:
    first, second = parse_feature(f'type="{one}"')[1], parse_feature(f'type="{other}"')[1]
    assert first.meets(second) == second.meets(first)
    return first.meets(second)


class TestTags:
    """RFC 3840 §9."""

    @pytest.mark.parametrize(
        "text",
        [
            "audio",
            "Audio",
            "+g.oma.sip-im",
            'language="en,de"',
            'audio="FALSE"',
            "automata",
            'priority="#>=5"',
            'description="<PC, for the desk>"',
            '+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"',
            'methods="INVITE,BYE,!MESSAGE"',
            "duplex=full",
        ],
    )
    def test_those_that_are_read(self, text: str) -> None:
        name, _ = parse_feature(text)
        assert name == text.partition("=")[0].lower()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "colour",
            "+",
            "+1",
            "q=0.5",
            'language=""',
            'language="en,,de"',
            'language="e n"',
            'language="en" "de"',
            'priority="#5"',
            'priority="#>=x"',
            'priority="#=1234567890123456"',
            'priority="#1:0"',
            'description="<open"',
            'language="' + ",".join("a" * 65) + '"',
        ],
    )
    def test_those_that_are_not(self, text: str) -> None:
        with pytest.raises(SipSyntaxError):
            parse_feature(text)


class TestValues:
    """RFC 3840 §5: the values of a tag as a set."""

    @pytest.mark.parametrize(
        ("one", "other", "expected"),
        [
            ("en", "EN", True),
            ("en,de", "de,fr", True),
            ("en", "de", False),
            ("TRUE", "true", True),
            ("TRUE", "FALSE", False),
            ("!TRUE", "FALSE", True),
            ("!TRUE", "TRUE", False),
            ("!en", "en", False),
            ("!en", "de", True),
            ("!en", "!de", True),
            ("!en,!de", "en,de", False),
            ("<PC>", "<PC>", True),
            ("<PC>", "<pc>", False),
            ("#=5", "#>=5", True),
            ("#=4", "#>=5", False),
            ("#<=5", "#>=5", True),
            ("#<=4.9", "#>=5", False),
            ("#1:10", "#10:20", True),
            ("#1:9", "#10:20", False),
            ("#-3:-1", "#<=-3", True),
            ("#=5", "!#=5", False),
            ("#1:10", "!#2:9", True),
            ("#1:10", "!#0:5,!#5:11", False),
            ("#1:10", "!#0:4,!#5:11", True),
            ("#1:10", "!#20:30", True),
            ("#1:10", "!#-9:0,!#1:10", False),
            ("#=5", "5", False),
            ("#=5,en", "en", True),
        ],
    )
    def test_which_meet(self, one: str, other: str, expected: bool) -> None:
        assert meet(one, other) is expected


class TestPreferences:
    """RFC 3841 §9.2."""

    def test_flags_and_tags(self) -> None:
        one, other = parse_preferences('*;audio;require, *;methods="INVITE";video="FALSE";explicit;q=0.5')
        assert (set(one.features), one.require, one.explicit) == ({"audio"}, True, False)
        assert (set(other.features), other.require, other.explicit) == ({"methods", "video"}, False, True)

    @pytest.mark.parametrize("value", ["audio", "sip:a@b;audio", '*;language="', ",".join(["*;audio"] * 17)])
    def test_what_is_refused(self, value: str) -> None:
        with pytest.raises(SipSyntaxError):
            parse_preferences(value)

    def test_its_limits(self) -> None:
        assert len(parse_preferences(",".join(["*;audio"] * MAXIMUM_PREFERENCES))) == MAXIMUM_PREFERENCES
        with pytest.raises(SipSyntaxError):
            parse_preferences("*" + "".join(f";+a{n}" for n in range(MAXIMUM_VALUES + 1)))


class TestScore:
    """RFC 3841 §7.2.4."""

    @pytest.mark.parametrize(
        ("preferences", "features", "expected"),
        [
            ("*;audio", ["audio"], 1.0),
            ("*;audio;video", ["audio"], 0.5),
            ("*;audio;video;explicit", ["audio"], 0.0),
            ("*;audio;video;explicit", ["audio", "video"], 1.0),
            ("*;video", ["audio"], 0.0),
            ("*;audio", ['audio="FALSE"'], 0.0),
            ("*;audio, *;video", ["audio"], 0.5),
            ('*;audio, *;language="de";require', ["audio", 'language="en"'], 0.0),
            ('*;audio, *;language="de"', ["audio", 'language="en"'], 0.5),
            ("*;audio, *;video;require;explicit", ["audio"], 0.0),
            ("*;audio, *;video;require", ["audio"], 0.5),
            ("*;+g.oma.sip-im;require;explicit", ["+g.oma.sip-im", "audio"], 1.0),
            ("*;q=0.1", ["audio"], 0.0),
        ],
    )
    def test_how_well_they_fit(self, preferences: str, features: list[str], expected: float) -> None:
        assert score(parse_preferences(preferences), capabilities(*features)) == expected

    @pytest.mark.parametrize(
        ("preferences", "features", "expected"),
        [
            ("*;automata", ["automata"], True),
            ("*;automata", ["audio"], False),
            ("*;audio;automata", ["automata"], False),
            ('*;actor="msg-taker";video, *;automata', ["automata"], True),
            ('*;language="en"', ['language="de,en"'], True),
            ('*;language="en"', ['language="de"'], False),
            ("*", ["audio"], False),
        ],
    )
    def test_whom_they_reject(self, preferences: str, features: list[str], expected: bool) -> None:
        assert rejected(parse_preferences(preferences), capabilities(*features)) is expected

    def test_the_example_of_the_rfc(self) -> None:
        """RFC 3841 §7.2.4: of two preferences the one with more tags that are met counts more."""
        wanted = parse_preferences('*;mobility="fixed";methods="INVITE", *;language="en"')
        better = capabilities('mobility="fixed"', 'methods="INVITE,MESSAGE"', 'language="en"')
        worse = capabilities('mobility="fixed"')
        assert score(wanted, better) > score(wanted, worse) > 0
