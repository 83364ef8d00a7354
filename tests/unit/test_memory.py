"""What a profile costs in memory: bytes that Python allocates, counted and not measured from outside."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import msgspec
import pytest
from machine_driver import Driver, answer

from benchmarks.workload import registered
from sipprofile.agents.base import Credentials, Plan, Verdict
from sipprofile.agents.ietf import IetfAgent
from sipprofile.profile import Profile
from sipprofile.registration import registration
from sipprofile.registration.identities import Identities
from sipprofile.registration.kept_plan import KeptPlan, whole
from sipprofile.registration.rare import USUAL_FLOW
from sipprofile.registration.registration import Flow, Nonce, kept_call_id, shared_number
from sipprofile.sip.digest import Terms
from sipprofile.sip.message import Response

REGISTERED = 1575
"""Bytes of one registered profile as CPython 3.11 allocates them; to be lowered with them."""
TOLERANCE = 1.05
FEW, MANY = 300, 1300


def allocated(count: int) -> int:
    """Bytes that ``count`` registered profiles keep."""
    gc.collect()
    tracemalloc.start()
    try:
        service = registered(count)
        gc.collect()
        assert service is not None
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


class TestARegisteredProfileIsSmall:
    def test_its_bytes_are_those_recorded(self) -> None:
        registered(1)
        each = (allocated(MANY) - allocated(FEW)) / (MANY - FEW)
        assert each <= REGISTERED * TOLERANCE, f"{each:.0f} bytes each"


class TestWhatIsSeldomTrueIsShared:
    def flow(self) -> Flow:
        return Flow(1, 1, "call", "token", 0, 256, 256)

    def test_flows_share_it_while_nothing_of_it_is_true(self) -> None:
        assert self.flow().rare is USUAL_FLOW
        assert self.flow().tried == ()

    def test_a_flow_that_differs_has_its_own(self) -> None:
        flow, other = self.flow(), self.flow()
        flow.old_contact = "sip:a@192.0.2.1"
        flow.rejected += 1
        assert (flow.old_contact, flow.rejected) == ("sip:a@192.0.2.1", 1)
        assert (other.old_contact, other.rejected) == ("", 0)

    def test_it_is_shared_again_when_all_is_as_usual(self) -> None:
        flow = self.flow()
        flow.again = True
        flow.without = ("outbound",)
        flow.again = False
        assert flow.rare is not USUAL_FLOW
        flow.without = ()
        assert flow.rare is USUAL_FLOW

    @pytest.mark.parametrize("name", USUAL_FLOW.__struct_fields__)
    def test_each_of_it_is_an_attribute_of_the_flow(self, name: str) -> None:
        flow = self.flow()
        assert getattr(flow, name) == getattr(USUAL_FLOW, name)
        setattr(flow, name, "other")
        assert getattr(flow, name) == getattr(flow.rare, name) == "other"


class TestAPlanIsKeptInLessMemory:
    def plan(self, number: int, **changes: Any) -> Plan:
        settings = Profile(name=f"u{number}", aor=f"sip:u{number}@example.com", instance_id=f"id{number}", **changes)
        return IetfAgent().plan(settings, f"token{number}")

    def test_what_profiles_have_in_common_is_one_object(self) -> None:
        identities = Identities()
        one, other = (identities.shared(self.plan(number)) for number in (1, 2))
        assert isinstance(one, KeptPlan)
        assert isinstance(other, KeptPlan)
        assert one.common is other.common
        assert identities.shared(self.plan(3, expires=60)).expires == 60

    @pytest.mark.parametrize("name", Plan.__struct_fields__)
    def test_it_is_read_like_the_plan(self, name: str) -> None:
        changes = {"headers": ["X-A: b"], "contact_params": ["a=b"], "dscp": 46, "gruu": True, "reg_event": True}
        plan = self.plan(1, **changes)
        assert getattr(Identities().shared(plan), name) == getattr(plan, name)

    def test_its_agent_gets_it_back_as_it_was(self) -> None:
        plan = self.plan(1, headers=["X-A: b"])
        assert whole(Identities().shared(plan)) == plan

    @pytest.mark.parametrize("name", ["headers", "allowed_identities"])
    def test_an_agent_may_make_lists(self, name: str) -> None:
        class Lists(IetfAgent):
            def plan(self, profile: Profile, contact_token: str) -> Plan:
                return msgspec.structs.replace(super().plan(profile, contact_token), **{name: ["X-Site: 1"]})

        driver = Driver(agent=Lists())
        driver.registered()
        assert getattr(driver.registrations.by_profile[1].plan, name) == ("X-Site: 1",)

    def test_an_agent_may_have_fields_of_its_own(self) -> None:
        class Site(Plan, frozen=True):
            site: dict[str, str] = {}  # noqa: RUF012

        class Sites(IetfAgent):
            def plan(self, profile: Profile, contact_token: str) -> Plan:
                plan = super().plan(profile, contact_token)
                return Site(**{each: getattr(plan, each) for each in plan.__struct_fields__}, site={"at": profile.name})

            def judge(self, plan: Plan, response: Response) -> Verdict | None:
                assert isinstance(plan, Site)
                return Verdict("retry", text=plan.site["at"])

        driver = Driver(agent=Sites())
        driver.always = answer(480)
        for number in (1, 2):
            driver.add(number)
            driver.run(1)
            assert driver.state(number).reason.text == driver.profiles[number].name

    def test_equal_plans_stay_equal_and_others_do_not(self) -> None:
        identities = Identities()
        kept = identities.shared(self.plan(1))
        assert kept == identities.shared(self.plan(1))
        assert kept != identities.shared(self.plan(2))
        assert kept != identities.shared(self.plan(1, expires=60))


class TestWhatAFlowSaysIsKeptInLessMemory:
    def flow(self, call_id: str = "call", token: str = "token") -> Flow:
        return Flow(1, 1, kept_call_id(call_id), token, 0, 256, 256)

    @pytest.mark.parametrize(
        "call_id",
        [
            "0123456789abcdef0123456789abcdef",
            "00000000000000000000000000000000",
            "0123456789ABCDEF0123456789abcdef",
            "0x23456789abcdef0123456789abcdef",
            "0123_56789abcdef0123456789abcdef",
            " 123456789abcdef0123456789abcdef",
            "٠123456789abcdef0123456789abcdef",
            "+123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef.2",
            "call@example.com",
            "",
        ],
    )
    def test_any_call_id_comes_back_as_it_was(self, call_id: str) -> None:
        assert self.flow(call_id).call_id == call_id

    def test_a_call_id_of_ours_is_half_as_long(self) -> None:
        assert self.flow("0123456789abcdef" * 2).call == bytes.fromhex("0123456789abcdef") * 2

    @pytest.mark.parametrize(
        "uri",
        [
            "sip:token@192.0.2.1:5060",
            "sip:token@[2001:db8::1]:5060;transport=tcp",
            "sips:token@192.0.2.1:5060",
            "sip:alice@192.0.2.1:5060",
            "sip:token2@192.0.2.1:5060",
            "sip:token;x@192.0.2.1",
            "sip:192.0.2.1:5060",
            "sip:token",
            "",
        ],
    )
    @pytest.mark.parametrize("token", ["token", ""])
    def test_any_contact_comes_back_as_it_was(self, uri: str, token: str) -> None:
        flow = self.flow(token=token)
        flow.contact = uri
        assert flow.contact == uri

    def test_contacts_share_what_follows_the_token(self) -> None:
        one, other = self.flow(token="one"), self.flow(token="other")
        for flow in (one, other):
            flow.contact = f"sip:{flow.contact_token}@{'192.0.2.1'}:5060"
        assert one.place is other.place

    def test_equal_numbers_are_one_object(self) -> None:
        assert shared_number(int("70000")) is shared_number(int("70000"))

    def test_numbers_are_remembered_within_bounds(self) -> None:
        for number in range(3 * registration.NUMBERS_KEPT):
            assert shared_number(number) == number
        assert len(registration._NUMBERS) <= registration.NUMBERS_KEPT

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_the_nonces_come_back_as_they_were(self, count: int) -> None:
        terms, own = Terms("example.com", "MD5"), Credentials("alice", "secret")
        nonces = tuple(Nonce(f"n{number}", terms, own) for number in range(count))
        flow = self.flow()
        flow.nonces = nonces
        assert flow.nonces == nonces

    @pytest.mark.parametrize("aors", [(), ("sip:a@example.com",), ("sip:a@example.com", "tel:+1")])
    def test_the_identities_come_back_as_they_were(self, aors: tuple[str, ...]) -> None:
        flow = self.flow()
        flow.registered_aors = aors
        assert flow.registered_aors == aors
