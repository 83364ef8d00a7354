"""Coherent local state from registration information documents, and what it means for us (RFC 3680 §5)."""

from __future__ import annotations

from typing import Any

import pytest

from sipprofile.registration.reginfo import MAXIMUM_CONTACTS, Bindings, Own, Verdict
from sipprofile.sip.reginfo import ContactElement, RegistrationElement, RegistrationInformation

AOR = "sip:alice@example.test"
TOKEN = "0123456789abcdef0123"
INSTANCE = "00000000-0000-4000-8000-000000000001"
CONTACT = f"sip:{TOKEN}@192.0.2.10:5060"
OWN = Own(CONTACT, TOKEN, INSTANCE, "1", "call", 7)
PRESENT = Verdict("present")


def contact(uri: str = CONTACT, id: str = "1", state: Any = "active", event: Any = "registered", **more: Any) -> Any:
    return ContactElement(id, state, event, uri, **more)


def gone(event: Any = "deactivated", uri: str = CONTACT, id: str = "1", **more: Any) -> Any:
    return contact(uri, id, "terminated", event, **more)


def document(version: int, *contacts: Any, kind: Any = "full", state: Any = "active", aor: str = AOR) -> Any:
    return RegistrationInformation(version, kind, (RegistrationElement(aor, "r", state, contacts),))


def partial(version: int, *contacts: Any) -> Any:
    return document(version, *contacts, kind="partial")


@pytest.fixture
def bindings() -> Bindings:
    return Bindings()


def take(bindings: Bindings, told: Any) -> str:
    return bindings.take(told, AOR, (OWN,))


class TestVersions:
    """§5.2.1, §5.3."""

    @pytest.mark.parametrize("first", [0, 1, 41])
    def test_the_first_may_have_any_number(self, bindings: Bindings, first: int) -> None:
        assert take(bindings, document(first, contact())) == "applied"
        assert bindings.verdict(OWN) == PRESENT

    def test_the_first_cannot_be_partial(self, bindings: Bindings) -> None:
        assert take(bindings, partial(0, contact())) == "gap"
        assert bindings.version == -1

    def test_the_next_partial_one_is_added(self, bindings: Bindings) -> None:
        take(bindings, document(3, contact()))
        assert take(bindings, partial(4, contact("sip:bob@192.0.2.9", "2"))) == "applied"
        assert set(bindings.contacts) == {"1", "2"}

    def test_after_a_gap_a_partial_one_is_not_applied_and_a_full_one_is(self, bindings: Bindings) -> None:
        take(bindings, document(3, contact()))
        assert take(bindings, partial(5, gone())) == "gap"
        assert set(bindings.contacts) == {"1"}
        assert take(bindings, document(6, contact("sip:bob@192.0.2.9", "2"))) == "applied"
        assert set(bindings.contacts) == {"2"}

    def test_older_ones_do_not_count(self, bindings: Bindings) -> None:
        take(bindings, document(3, contact()))
        assert take(bindings, document(2)) == "older"
        assert take(bindings, partial(3, gone())) == "older"
        assert set(bindings.contacts) == {"1"}

    def test_a_full_one_with_the_same_number_counts(self, bindings: Bindings) -> None:
        """Kamailio numbers all of them 0."""
        take(bindings, document(0, contact()))
        assert take(bindings, document(0, gone())) == "applied"
        assert bindings.verdict(OWN) == Verdict("ended", "deactivated")


class TestOurContact:
    def test_by_instance_whatever_became_of_the_uri(self, bindings: Bindings) -> None:
        params = {"+sip.instance": f"<urn:uuid:{INSTANCE.upper()}>"}
        take(bindings, document(1, contact("sip:elsewhere@203.0.113.1", unknown_params=params)))
        assert bindings.verdict(OWN) == PRESENT

    def test_another_reg_id_is_another_flow(self, bindings: Bindings) -> None:
        params = {"+sip.instance": f"<urn:uuid:{INSTANCE}>", "reg-id": "2"}
        take(bindings, document(1, contact("sip:elsewhere@203.0.113.1", unknown_params=params)))
        assert bindings.verdict(OWN) == Verdict("missing")

    def test_by_token(self, bindings: Bindings) -> None:
        take(bindings, document(1, contact(f"sip:{TOKEN}@203.0.113.1:1024")))
        assert bindings.verdict(OWN) == PRESENT

    def test_by_uri(self, bindings: Bindings) -> None:
        own = Own("sip:desk@192.0.2.10", "desk", "", "1")
        bindings.take(document(1, contact("SIP:desk@192.0.2.10")), AOR, (own,))
        assert bindings.verdict(own) == PRESENT

    def test_a_short_user_part_may_be_somebody_elses(self, bindings: Bindings) -> None:
        own = Own("sip:desk@192.0.2.10", "desk", "", "1")
        bindings.take(document(1, contact("sip:desk@203.0.113.1")), AOR, (own,))
        assert bindings.verdict(own) == Verdict("missing")
        assert len(bindings.others((own,))) == 1

    def test_an_earlier_contact_of_ours_that_ends_is_not_this_one(self, bindings: Bindings) -> None:
        old = f"sip:{TOKEN}@192.0.2.99:5060"
        take(bindings, document(1, contact(), contact(old, "2")))
        take(bindings, partial(2, gone("expired", old, "2")))
        assert bindings.verdict(OWN) == PRESENT

    def test_an_earlier_contact_of_ours_does_not_hide_that_this_one_ended(self, bindings: Bindings) -> None:
        take(bindings, document(1, contact(), contact(f"sip:{TOKEN}@192.0.2.99:5060", "2")))
        take(bindings, partial(2, gone("rejected")))
        assert bindings.verdict(OWN) == Verdict("ended", "rejected")

    def test_ended_and_made_again_in_one_document(self, bindings: Bindings) -> None:
        take(bindings, document(1, gone("expired"), contact(id="2", event="created")))
        assert bindings.verdict(OWN) == PRESENT

    def test_others_are_those_that_are_not_ours(self, bindings: Bindings) -> None:
        other = contact("sip:phone@192.0.2.7", "2")
        take(bindings, document(1, contact(), other, contact(f"sip:{TOKEN}@192.0.2.99", "3")))
        assert bindings.others((OWN,)) == [other]


class TestVerdict:
    """§5.1: the events."""

    @pytest.mark.parametrize("event", ["deactivated", "rejected", "unregistered", "expired"])
    def test_ended(self, bindings: Bindings, event: str) -> None:
        take(bindings, document(1, gone(event, retry_after=9)))
        assert bindings.verdict(OWN) == Verdict("ended", event)

    def test_probation_says_when_to_come_again(self, bindings: Bindings) -> None:
        take(bindings, document(1, gone("probation", retry_after=90)))
        assert bindings.verdict(OWN) == Verdict("ended", "probation", 90)

    def test_shortened(self, bindings: Bindings) -> None:
        take(bindings, document(1, contact(event="shortened", expires=60)))
        assert bindings.verdict(OWN) == Verdict("present", "shortened", 60)
        take(bindings, partial(2, contact("sip:bob@192.0.2.9", "2")))
        assert bindings.verdict(OWN) == PRESENT  # once

    def test_what_is_said_of_an_earlier_register_is_over(self, bindings: Bindings) -> None:
        take(bindings, document(1, gone("expired", callid="call", cseq=6)))
        assert bindings.verdict(OWN) is None
        take(bindings, document(2, gone("expired", callid="call", cseq=7)))
        assert bindings.verdict(OWN) == Verdict("ended", "expired")

    def test_a_partial_document_without_us_says_nothing(self, bindings: Bindings) -> None:
        take(bindings, document(1))
        assert bindings.verdict(OWN) == Verdict("missing")
        take(bindings, partial(2, contact("sip:bob@192.0.2.9", "2")))
        assert bindings.verdict(OWN) is None

    def test_the_whole_registration_ended(self, bindings: Bindings) -> None:
        take(bindings, document(1, contact()))
        take(bindings, document(2, kind="partial", state="terminated"))
        assert bindings.verdict(OWN) == Verdict("missing")
        take(bindings, document(3, contact(event="rejected"), state="terminated"))
        assert bindings.verdict(OWN) == Verdict("ended", "rejected")


class TestSeveralRegistrations:
    """An implicit set has an element for each identity."""

    def test_ours_is_that_of_our_aor(self, bindings: Bindings) -> None:
        told = RegistrationInformation(
            1,
            "full",
            (
                RegistrationElement("tel:+4930123", "t", "active", (gone(),)),
                RegistrationElement("sip:4930123@example.test", "s", "active", (gone(),)),
                RegistrationElement("sip:alice@EXAMPLE.test;user=phone", "a", "active", (contact(),)),
            ),
        )
        assert take(bindings, told) == "applied"
        assert bindings.verdict(OWN) == PRESENT

    def test_else_that_which_has_our_contact(self, bindings: Bindings) -> None:
        assert take(bindings, document(1, contact(), aor="sip:alias@example.test")) == "applied"
        assert bindings.verdict(OWN) == PRESENT


def test_what_is_remembered_is_bounded(bindings: Bindings) -> None:
    take(bindings, document(1, *(contact(f"sip:u{n}@192.0.2.9", str(n)) for n in range(MAXIMUM_CONTACTS + 50))))
    assert len(bindings.contacts) == MAXIMUM_CONTACTS
