"""The test registrar as one that does outbound and GRUU: RFC 5626 §6, RFC 5627 §5, RFC 3327."""

from __future__ import annotations

import random

import pytest
from phone import Phone

from sipprofile.sip.message import Response
from sipprofile.testing.registrar import Faults, Registrar

AOR = "sip:alice@example.test"
SUPPORTED = [("Supported", "path, outbound, gruu")]


def contact(uri: str, number: int, instance: str = "i") -> str:
    return f'<{uri}>;+sip.instance="<urn:uuid:{instance}>";reg-id={number}'


@pytest.fixture
def phone() -> Phone:
    faults = Faults(algorithms=(), outbound=True)
    return Phone(Registrar(users={"alice": "wonder"}, random=random.Random(1), faults=faults))


def register(phone: Phone, value: str, *, offered: bool = True) -> Response:
    return phone.send([value], headers=SUPPORTED if offered else [])


def bound(phone: Phone) -> list[str]:
    return [binding.contact for binding in phone.registrar.bindings(AOR, 0.0)]


def test_a_reg_id_is_replaced_whatever_its_uri(phone: Phone) -> None:
    assert register(phone, contact("sip:a@192.0.2.1", 1)).headers("require") == ["outbound"]
    register(phone, contact("sip:a@192.0.2.1", 2))
    register(phone, contact("sip:b@192.0.2.9", 1))
    assert bound(phone) == ["sip:b@192.0.2.9", "sip:a@192.0.2.1"]
    register(phone, contact("sip:b@192.0.2.9", 1) + ";expires=0")
    assert bound(phone) == ["sip:a@192.0.2.1"]


def test_another_instance_is_another_binding(phone: Phone) -> None:
    register(phone, contact("sip:a@192.0.2.1", 1))
    register(phone, contact("sip:b@192.0.2.1", 1, "other"))
    assert len(bound(phone)) == 2


@pytest.mark.parametrize("faults", [{"outbound": False}, {}])
def test_who_does_not_offer_it_is_known_by_the_uri(phone: Phone, faults: dict[str, bool]) -> None:
    for name, value in faults.items():
        setattr(phone.registrar.faults, name, value)
    offered = bool(faults)
    assert register(phone, contact("sip:a@192.0.2.1", 1), offered=offered).headers("require") == []
    register(phone, contact("sip:b@192.0.2.1", 1), offered=offered)
    assert len(bound(phone)) == 2


def test_first_hop_lacks_outbound(phone: Phone) -> None:
    phone.registrar.faults.first_hop_lacks_outbound = True
    assert register(phone, contact("sip:a@192.0.2.1", 1)).status == 439
    assert register(phone, "<sip:a@192.0.2.1>").status == 200


def test_gruus_and_path(phone: Phone) -> None:
    phone.registrar.faults.gruu = True
    phone.registrar.faults.path = ["<sip:edge.test;lr;ob>"]
    first = register(phone, contact("sip:a@192.0.2.1", 1))
    assert first.headers("path") == ["<sip:edge.test;lr;ob>"]
    assert f'pub-gruu="{AOR};gr=urn:uuid:i"' in (first.header("contact") or "")
    assert "temp-gruu=" in (first.header("contact") or "")
    assert first.header("contact") != register(phone, contact("sip:a@192.0.2.1", 1)).header("contact")
    assert "gruu" not in (register(phone, contact("sip:a@192.0.2.1", 1), offered=False).header("contact") or "")
