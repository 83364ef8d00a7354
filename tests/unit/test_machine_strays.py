"""What a registrar lists beside our contact and was ours is removed (RFC 3261 §10.2.2)."""

from __future__ import annotations

import pytest
from machine_driver import Driver, answer, ok, reply

from sipprofile.sip.message import Request


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered()
    return driver


def contacts_of(request: Request) -> list[str]:
    return request.headers("contact")


class TestStrays:
    """A killed process, or an answer that did not list our contact, may have left some behind."""

    def test_all_of_them_go_in_one_request_at_the_next_refresh(self, driver: Driver) -> None:
        token = driver.flow().contact_token
        strays = [f"sip:{token}@192.0.2.10:{port}" for port in (5070, 5080)]
        driver.answers.append(ok(3600, *(f"<{uri}>;expires=99" for uri in strays)))
        driver.run_to_register()
        assert contacts_of(driver.sends[-1][2]) == [f"<{uri}>;expires=0" for uri in strays]
        driver.run_to_register()
        assert contacts_of(driver.sends[-1][2]) == contacts_of(driver.sends[0][2])
        assert len(driver.sends) == 4

    @pytest.mark.parametrize(
        "other",
        [
            "<sip:somebody@192.0.2.10:5070>;expires=99",
            "<sip:{token}@" + "x" * 600 + ">;expires=99",
        ],
        ids=["another user", "too long"],
    )
    def test_nothing_else_does(self, driver: Driver, other: str) -> None:
        driver.answers.append(ok(3600, other.format(token=driver.flow().contact_token)))
        driver.run_to_register()
        count = len(driver.sends)
        driver.run(60)
        assert len(driver.sends) == count
        driver.assert_status("registered")

    def test_where_contacts_are_rewritten_nothing_is_known_to_be_a_stray(self, driver: Driver) -> None:
        token = driver.flow().contact_token
        rewritten = [f"Contact: <sip:{token}@203.0.113.1:{port}>;expires=3600" for port in (5060, 5070)]
        driver.answers.append(answer(200, *rewritten))
        driver.run_to_register()
        count = len(driver.sends)
        driver.run(60)
        assert len(driver.sends) == count


class TestContactNotListed:
    def test_what_a_200_accepted_without_listing_it_is_removed_when_nobody_wants_it(self) -> None:
        driver = Driver()
        driver.answers.append(answer(200, "Contact: <sip:desk@192.0.2.77>;expires=60"))
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "contact_missing")
        driver.disable()
        driver.run(1)
        assert driver.sends[-1][2].header("expires") == "0"
        assert len(driver.sends) == 2

    def test_a_rejection_leaves_nothing_to_remove(self) -> None:
        driver = Driver()
        driver.answers.append(lambda request, _: reply(request, 404))
        driver.add()
        driver.run(1)
        count = len(driver.sends)
        driver.disable()
        driver.run(1)
        assert len(driver.sends) == count

    def test_those_of_a_fixed_user_are_known_by_our_instance(self) -> None:
        driver = Driver()
        driver.registered(contact_user="desk")
        instance = contacts_of(driver.sends[-1][2])[0].partition("+sip.instance=")[2].partition(";")[0]
        stray, foreign = "sip:desk@192.0.2.10:5070", "sip:desk@192.0.2.10:5080"
        driver.answers.append(
            ok(
                3600,
                f"<{stray}>;+sip.instance={instance};expires=99",
                f'<{foreign}>;+sip.instance="<urn:uuid:{"0" * 8}>";expires=99',
            )
        )
        driver.run_to_register()
        assert contacts_of(driver.sends[-1][2]) == [f"<{stray}>;expires=0"]
