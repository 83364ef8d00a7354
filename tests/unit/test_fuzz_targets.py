"""What the fuzz targets promise for any bytes, with the inputs at hand and with those hypothesis thinks of."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.corpus import seeds, tokens
from fuzz.parsers import DOCUMENTED, PARSERS
from fuzz.targets import TARGETS
from sipprofile.sip.headers import NameAddr, Via, parse_name_addr, parse_via, split_list
from sipprofile.sip.syntax import is_token, quote
from sipprofile.sip.uri import Uri


@pytest.mark.parametrize(
    ("target", "data"),
    [pytest.param(target, data, id=f"{target}-{n}") for target in TARGETS for n, data in enumerate(seeds(target))],
)
def test_seeds_and_earlier_findings(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("name", PARSERS)
def test_hostile_repetitions(name: str) -> None:
    target = name if name in ("message", "framing", "reginfo", "stun") else "header"
    parser = PARSERS[name]
    for start in parser.starts:
        for unit in parser.units:
            TARGETS[target](parser.hostile(start, unit, 2000))


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes(target: str) -> None:
    pieces = st.sampled_from(sorted(tokens(target))) | st.binary(max_size=4)
    noise = st.binary(max_size=100) | st.lists(pieces, max_size=20).map(b"".join)
    damaged = st.builds(
        lambda seed, begin, end, middle: seed[:begin] + middle + seed[end:],
        st.sampled_from(seeds(target)),
        st.integers(0, 300),
        st.integers(0, 300),
        st.binary(max_size=8) | pieces,
    )

    @settings(deadline=None)
    @given(noise | damaged)
    def holds(data: bytes) -> None:
        TARGETS[target](data)

    holds()


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_raises_what_is_documented_and_nothing_else(name: str) -> None:
    parser = PARSERS[name]

    @settings(deadline=None)
    @given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda noise: parser.sample + noise))
    def holds(data: bytes) -> None:
        with contextlib.suppress(*DOCUMENTED):
            parser.read(data)

    holds()


TOKENS = st.text("abz09-.!%*_+`'~", min_size=1, max_size=10)
HOSTS = st.sampled_from(["example.com", "192.0.2.1", "[2001:db8::1]", "a_b.local", "x"])
PORTS = st.none() | st.integers(1, 65535)
VALUES = st.none() | st.text(st.characters(exclude_characters="\r\n"), max_size=12)
PARAMS = st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=4)
USERS = st.none() | st.text("az09-_.!~*'()&=+$,;?/", min_size=1, max_size=8)


def written(via: Via, space: str) -> str:
    port = "" if via.port is None else f"{space}:{space}{via.port}"
    text = f"SIP{space}/{space}2.0{space}/{space}{via.transport} {space}{via.host}{port}"
    for name, value in via.params.items():
        text += f"{space};{space}{name}"
        if value is not None:
            text += f"{space}={space}{value if is_token(value) else quote(value)}"
    return text


class TestWhatIsWrittenIsReadAgain:
    @settings(deadline=None)
    @given(st.builds(Via, TOKENS.map(str.upper), HOSTS, PORTS, PARAMS), st.sampled_from(["", " ", "\t "]))
    def test_via(self, via: Via, space: str) -> None:
        assert parse_via(written(via, space)) == via

    @settings(deadline=None)
    @given(st.lists(st.builds(Via, st.just("UDP"), HOSTS, PORTS, PARAMS), min_size=1, max_size=4))
    def test_several_vias_in_a_line(self, vias: list[Via]) -> None:
        line = " , ".join(written(via, "") for via in vias)
        assert [parse_via(value) for value in split_list(line)] == vias

    @settings(deadline=None)
    @given(st.sampled_from(["sip", "sips"]), USERS, HOSTS, PORTS, PARAMS)
    def test_a_uri_inside_a_name_addr(
        self, scheme: str, user: str | None, host: str, port: int | None, params: dict[str, str | None]
    ) -> None:
        uri = Uri(scheme, user, None, host, port).with_params(transport="tcp")
        line = f"{NameAddr('A, <B>', str(uri), params)}, <sip:other>"
        first, _ = split_list(line)
        found = parse_name_addr(first)
        assert (found.display, found.params) == ("A, <B>", params)
        assert Uri.parse(found.uri) == uri
