"""examples/agent-acme: what a profile type of one's own can say, and what the machine does with it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sipprofile.agents.base import Verdict
from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile, ServerParameters
from sipprofile.sip.message import Response, parse

SOURCE = Path(__file__).parents[2] / "examples/agent-acme/src/sipprofile_acme/__init__.py"


@pytest.fixture(scope="module")
def acme() -> ModuleType:
    """The example's module, found by its file: this test needs no installation."""
    spec = importlib.util.spec_from_file_location("sipprofile_acme_under_test", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def profile(**changes: object) -> Profile:
    plain: dict[str, object] = {
        "name": "office",
        "type": "acme",
        "aor": "sip:alice@acme.example",
        "registrar": ServerParameters(uri="sip:192.0.2.1", password="secret"),
        "extensions": {"acme.site": "berlin"},
    }
    return Profile(**{**plain, **changes})  # type: ignore[arg-type]


def answer(status: int, *headers: str) -> Response:
    lines = [
        f"SIP/2.0 {status} Whatever",
        "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1",
        "From: <sip:alice@acme.example>;tag=1",
        "To: <sip:alice@acme.example>;tag=2",
        "Call-ID: 1",
        "CSeq: 1 REGISTER",
        *headers,
        "Content-Length: 0",
        "",
        "",
    ]
    response = parse("\r\n".join(lines).encode())
    assert isinstance(response, Response)
    return response


def judged(acme: ModuleType, response: Response) -> Verdict | None:
    agent = acme.AcmeAgent()
    verdict: Verdict | None = agent.judge(agent.plan(profile(), "token"), response)
    return verdict


class TestItsOwnParameter:
    def test_a_profile_with_its_site_is_valid(self, acme: ModuleType) -> None:
        acme.AcmeAgent().validate(profile())

    def test_without_a_site_it_is_not(self, acme: ModuleType) -> None:
        with pytest.raises(SipProfileError) as raised:
            acme.AcmeAgent().validate(profile(extensions={}))
        assert (raised.value.code, raised.value.field) == ("missing_field", "extensions.acme.site")

    @pytest.mark.parametrize("site", ["two words", "", "x" * 33, 7, True, ["berlin"]])
    def test_a_site_is_a_short_token(self, acme: ModuleType, site: object) -> None:
        with pytest.raises(SipProfileError) as raised:
            acme.AcmeAgent().validate(profile(extensions={"acme.site": site}))
        assert (raised.value.code, raised.value.field) == ("invalid_value", "extensions.acme.site")

    def test_what_every_type_checks_is_still_checked(self, acme: ModuleType) -> None:
        with pytest.raises(SipProfileError) as raised:
            acme.AcmeAgent().validate(profile(expires=1))
        assert raised.value.field == "expires"

    def test_types_describes_it(self, acme: ModuleType) -> None:
        described = acme.AcmeAgent().describe()
        assert described["name"] == "acme"
        assert described["class"] == "other"
        assert "acme.site" in described["extensions"]


class TestItsOwnHeader:
    def test_register_carries_the_site_after_the_profiles_own_headers(self, acme: ModuleType) -> None:
        plan = acme.AcmeAgent().plan(profile(headers=["X-Other: 1"]), "token")
        assert plan.headers == ("X-Other: 1", "X-Acme-Site: berlin")


class TestItsOwnJudgement:
    def test_480_with_cause_17_is_tried_again_in_15_seconds(self, acme: ModuleType) -> None:
        verdict = judged(acme, answer(480, 'Reason: acme;cause=17;text="moving"'))
        assert verdict is not None
        assert (verdict.action, verdict.after) == ("retry", 15.0)

    @pytest.mark.parametrize(
        "response",
        [
            answer(480),
            answer(480, "Reason: acme;cause=16"),
            answer(480, "Reason: Q.850;cause=17"),
            answer(480, 'Reason: acme;text="unclosed'),
            answer(503, "Reason: acme;cause=17"),
        ],
        ids=["no reason", "another cause", "another protocol", "malformed", "another status"],
    )
    def test_everything_else_is_left_to_the_machine(self, acme: ModuleType, response: Response) -> None:
        assert judged(acme, response) is None
