"""What a 2xx to REGISTER brings beside the lease: Path, Service-Route, GRUUs, identities, feature parameters."""

from __future__ import annotations

import pytest
from machine_driver import Answer, Driver, answer, reply, server

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import Request

PUBLIC = "sip:alice@example.test;gr=urn:uuid:00000000-0000-4000-8000-000000000001"
TEMPORARY = "sip:tgruu.{}@example.test;gr"


def granted(*headers: str, params: str = "") -> Answer:
    """Grants our contact with ``params`` and adds ``headers``."""

    def respond(request: Request, _: TransportKey) -> bytes:
        if request.header("expires") == "0":
            return reply(request, 200)
        return reply(request, 200, f"Contact: {request.header('contact')}{params};expires=3600", *headers)

    return respond


def with_gruus(public: str = PUBLIC, temporary: str = "") -> Answer:
    params = (f';pub-gruu="{public}"' if public else "") + (f';temp-gruu="{temporary}"' if temporary else "")
    return granted(params=params)


@pytest.fixture
def driver() -> Driver:
    return Driver()


class TestPath:
    """RFC 3327 §5.1."""

    def test_is_shown_and_the_next_answer_without_it_clears_it(self, driver: Driver) -> None:
        driver.answers.append(granted("Path: <sip:edge.test;lr;ob>,<sip:inner.test;lr>"))
        driver.registered()
        assert driver.state().path == ["<sip:edge.test;lr;ob>", "<sip:inner.test;lr>"]
        driver.run_to_register()
        assert driver.state().path == []

    def test_survives_a_restart(self, driver: Driver) -> None:
        driver.answers.append(granted("Path: <sip:edge.test;lr>", "Service-Route: <sip:home.test;lr>"))
        driver.registered()
        driver.crash()
        assert driver.state().path == ["<sip:edge.test;lr>"]
        assert driver.state().service_route == ["<sip:home.test;lr>"]


class TestGruu:
    """RFC 5627 §4."""

    def test_is_not_asked_for_by_default(self, driver: Driver) -> None:
        driver.always = with_gruus()
        driver.add()
        assert "gruu" not in (driver.sent_register().header("supported") or "")
        driver.run(1)
        assert driver.state().public_gruu is None

    def test_is_asked_for_and_shown(self, driver: Driver) -> None:
        driver.always = with_gruus(temporary=TEMPORARY.format(1))
        driver.add(gruu=True)
        assert driver.sent_register().header("supported") == "path, outbound, gruu"
        driver.run(1)
        state = driver.state()
        assert (state.public_gruu, state.temporary_gruu) == (PUBLIC, TEMPORARY.format(1))

    def test_the_public_one_stays_and_the_temporary_one_is_the_newest(self, driver: Driver) -> None:
        driver.answers.extend([with_gruus(temporary=TEMPORARY.format(1)), with_gruus("", TEMPORARY.format(2))])
        driver.registered(gruu=True)
        driver.run_to_register()
        state = driver.state()
        assert (state.public_gruu, state.temporary_gruu) == (PUBLIC, TEMPORARY.format(2))

    def test_the_temporary_one_ends_with_the_registration(self, driver: Driver) -> None:
        driver.always = with_gruus(temporary=TEMPORARY.format(1))
        driver.registered(gruu=True)
        driver.disable()
        driver.run(1)
        state = driver.state()
        assert (state.public_gruu, state.temporary_gruu) == (PUBLIC, None)

    def test_both_survive_a_restart(self, driver: Driver) -> None:
        driver.always = with_gruus(temporary=TEMPORARY.format(1))
        driver.registered(gruu=True)
        driver.crash()
        state = driver.state()
        assert (state.public_gruu, state.temporary_gruu) == (PUBLIC, TEMPORARY.format(1))

    def test_only_our_contact_has_ours(self, driver: Driver) -> None:
        other = '<sip:bob@192.0.2.77>;pub-gruu="sip:alice@example.test;gr=other";expires=60'

        def respond(request: Request, _: TransportKey) -> bytes:
            return reply(
                request, 200, f'Contact: {other}, {request.header("contact")};pub-gruu="{PUBLIC}";expires=3600'
            )

        driver.always = respond
        driver.registered(gruu=True)
        assert driver.state().public_gruu == PUBLIC

    @pytest.mark.parametrize("nonsense", ["", "no uri", "sip:" + "x" * 2000 + "@example.test"])
    def test_nonsense_is_left_out(self, driver: Driver, nonsense: str) -> None:
        driver.always = with_gruus(nonsense)
        driver.registered(gruu=True)
        assert driver.state().public_gruu is None

    def test_turning_it_on_is_one_refresh_and_off_forgets(self, driver: Driver) -> None:
        driver.always = with_gruus()
        driver.registered()
        driver.update(gruu=True)
        driver.run(1)
        assert len(driver.sent()) == 1
        assert driver.state().public_gruu == PUBLIC
        driver.update(gruu=False)
        driver.run(1)
        assert driver.state().public_gruu is None

    def test_another_instance_has_another_one(self, driver: Driver) -> None:
        driver.answers.append(with_gruus())
        driver.registered(gruu=True)
        driver.update(instance_id="00000000-0000-4000-8000-0000000000ff")
        driver.run(1)
        assert driver.state().public_gruu is None


class TestIdentities:
    """RFC 7315 §4.1."""

    AOR = "sip:alice1@192.0.2.1"

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ([], [AOR]),
            ([f"P-Associated-URI: <{AOR}>"], [AOR]),
            (["P-Associated-URI: <tel:+4930123>, <sip:a@b>"], ["tel:+4930123", "sip:a@b", AOR]),
            (["P-Associated-URI: <sip:a@b>", f'P-Associated-URI: "A, B" <{AOR}>'], ["sip:a@b", AOR]),
            (["P-Associated-URI: <<", "P-Associated-URI: "], [AOR]),
        ],
    )
    def test_are_shown_the_default_one_first(self, driver: Driver, headers: list[str], expected: list[str]) -> None:
        driver.always = granted(*headers)
        driver.registered()
        assert driver.state().registered_aors == expected

    def test_a_2xx_without_the_header_leaves_the_address_of_record(self, driver: Driver) -> None:
        driver.answers.append(granted("P-Associated-URI: <sip:a@b>"))
        driver.registered()
        driver.run_to_register()
        assert driver.state().registered_aors == [self.AOR]

    def test_are_bounded(self, driver: Driver) -> None:
        driver.always = granted("P-Associated-URI: " + ",".join(f"<sip:{n}@b>" for n in range(500)))
        driver.registered()
        assert len(driver.state().registered_aors) == 65


class TestFeatureParameters:
    """RFC 3840 §9: byte by byte as they were given, and no obstacle when they come back in another order."""

    PARAMS = ("audio", 'methods="INVITE,MESSAGE,OPTIONS"', '+sip.foo="<a;b,c>"', '+sip.ice="#5.5"', "q=0.7")

    def test_go_out_as_they_are(self, driver: Driver) -> None:
        driver.add(contact_params=list(self.PARAMS))
        assert (driver.sent_register().header("contact") or "").endswith(";" + ";".join(self.PARAMS))

    @pytest.mark.parametrize("others", [[], ['<sip:bob@192.0.2.5>;methods="A,B";expires=7', "<sip:x@y>;expires=9"]])
    def test_come_back_in_any_order(self, driver: Driver, others: list[str]) -> None:
        def respond(request: Request, _: TransportKey) -> bytes:
            uri = (request.header("contact") or "").partition(">")[0] + ">"
            params = [*reversed(self.PARAMS), 'reg-id="1"', "expires=1234", '+SIP.Instance="<urn:uuid:x>"']
            return reply(request, 200, "Contact: " + ", ".join([*others, ";".join([uri, *params])]))

        driver.always = respond
        driver.registered(contact_params=list(self.PARAMS))
        assert driver.state().expires_granted == 1234


def test_a_strict_registrar_without_outbound_still_registers(driver: Driver) -> None:
    """One that refuses the unknown parameter is told nothing of it when the profile says so."""

    def respond(request: Request, key: TransportKey) -> bytes | None:
        refused = "reg-id" in (request.header("contact") or "")
        return (answer(400) if refused else granted())(request, key)

    driver.always = respond
    driver.add(registrar=server())
    driver.run(1)
    driver.assert_status("unregistered", "response")
    driver.update(outbound=False)
    driver.run(1)
    driver.assert_status("registered")
