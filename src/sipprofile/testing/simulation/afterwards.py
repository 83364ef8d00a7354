"""The time after the faults: everything settles, stays settled, and what is asked for now happens at once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from sipprofile.sip.digest import ha1
from sipprofile.testing.simulation.operator import new_password
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sites import TTLS
from sipprofile.testing.simulation.trace import SECRET
from sipprofile.testing.simulation.travel import other

if TYPE_CHECKING:
    from sipprofile.testing.simulation.world import World

STEP = 60.0  # seconds between looks whether everything has settled
LIMIT = 3600.0 + 1800.0 + 300.0  # seconds: the longest lease, the longest back-off and some transactions
LONGEST_RETRY_AFTER = 90.0  # seconds
ATTEMPT = 180.0  # seconds: a time-out at each of four targets, and names to look up
KILLS = 3
CALM = 400.0  # seconds
FOLLOWED = 20.0  # seconds: a change settles, names are looked up, one transaction
KEEPALIVE = 65.0  # seconds; there was a keepalive after that
NOTICED = 15.0  # seconds: RFC 5626 §4.4.1 gives an answer 10 s, and a REGISTER takes some round trips
SLEEP = 100.0  # seconds
PROMPT = 45.0  # seconds: one transaction and a queue at the bucket


class Afterwards:
    """What must be true when nothing goes wrong any more."""

    def __init__(self, world: World, chosen: random.Random) -> None:
        self._world = world
        self._random = chosen

    def run(self) -> None:
        """All of it; raises :class:`Violation`."""
        self._settle()
        self._stays_calm()
        self._is_prompt()
        self._survives_kills()
        self._follows_the_network()
        self._notices_silence()
        self._restarts_unseen()
        self._gives_back()
        self._check_file()

    def _settle(self) -> None:
        world = self._world
        world.trace.note("no faults from here on")
        world.pass_time(30.0)
        while not world.computer.at_work:
            world.pass_time(1.0)
        over = world.clock.now  # what a suspended computer has missed it finds out from here on
        self._agree_on_passwords()
        self._come_back()
        end = world.clock.now + LIMIT
        while wrong := world.settled.unsettled():
            if world.clock.now > end:
                raise Violation(Promise.SETTLED, "not settled: " + "; ".join(wrong))
            world.pass_time(STEP)
        while world.clock.now < over + max(TTLS):
            world.pass_time(STEP)
        world.trace.note("settled")

    def _come_back(self) -> None:
        """The longest back-off and one more attempt, and everybody is registered: leases may take longer to end."""
        world = self._world
        settings = world.computer.settings.registration
        wait = max(settings.backoff_maximum, settings.probe_interval * 1.1, LONGEST_RETRY_AFTER)
        queue = (len(world.operator.ledger.profiles) + settings.burst) / settings.rate
        end = world.clock.now + wait + ATTEMPT + queue
        while wrong := world.settled.unregistered():
            if world.clock.now > end:
                raise Violation(Promise.BACK_IN_TIME, "; ".join(wrong))
            world.pass_time(STEP)

    def _agree_on_passwords(self) -> None:
        """The provider's passwords and the stored ones are the same again."""
        world = self._world
        for number, known in world.operator.ledger.profiles.items():
            user = known.content["registrar"]["username"]
            if any(site.registrar.users[user] != known.password for site in world.sites.values()):
                password = new_password(self._random)
                world.open_account(user, password)
                world.operator.patch(number, registrar={"password": password})
        for site in world.sites.values():
            site.refusals.clear()

    def _stays_calm(self) -> None:
        """Without faults no registration is lost."""
        world = self._world
        world.promises.told.clear()
        world.pass_time(CALM)
        lost = [told for told in world.promises.told if told[0] in ("deregistered", "error")]
        if lost:
            raise Violation(Promise.CALM, f"registrations were lost without any fault: {lost}")
        self._check_settled(Promise.CALM, "not calm")

    def _check_settled(self, promise: Promise, what: str) -> None:
        """Everything is as it must be, but for messages and frames that are just under way."""
        for _ in range(3):
            wrong = self._world.settled.unsettled()
            if not wrong:
                return
            self._world.pass_time(1.0)
        raise Violation(promise, f"{what}: " + "; ".join(wrong))

    def _is_prompt(self) -> None:
        """What applications and operators ask for now is done soon, all of it."""
        world = self._world
        world.trace.note("everybody changes their mind")
        gone = world.promises.moved_away()
        places = world.promises.places()
        numbers = [number for number in sorted(world.operator.ledger.profiles) if places.get(number) not in gone]
        for number in self._random.sample(numbers, min(len(numbers), 12)):
            action = self._random.randrange(5)
            users = [application for application in world.applications if number in application.enabled]
            if action == 0:
                world.operator.control(number, "pause")
            elif action == 1:
                world.operator.patch(number, expires=self._random.choice((500, 700, 2000)))
            elif action == 2 and not users:
                world.operator.remove(number)
            elif users:
                for application in users:
                    application.disable(number)
            else:
                running = [application for application in world.applications if application.running]
                for application in running[:3]:
                    application.enable(number)
                if self._gave_up(number):
                    world.operator.control(number, "retry-now")
                for application in running[:2]:
                    world.clock.after(5.0, application.disable, number)
        world.operator.create()
        world.pass_time(PROMPT + 60.0)  # the longest time a profile lingers
        self._check_settled(Promise.PROMPT, "not prompt")

    def _gave_up(self, number: int) -> bool:
        """Refused passwords are tried once an hour, or when an operator says that they are right now."""
        registration = self._world.promises.registry.registrations.by_profile[number]
        return any(flow.breaker_open for flow in registration.flows)

    def _survives_kills(self) -> None:
        """A change that a kill interrupts is made whole soon after the restart, or never was.

        On UDP: a TCP connection that was made and not written down leaves its contact until the lease ends.
        """
        world = self._world
        for _ in range(KILLS):
            known = sorted(world.operator.ledger.profiles.items())
            number = self._random.choice(
                [number for number, each in known if "tcp" not in each.content["registrar"]["uri"]]
            )
            changes: dict[str, Any] = self._random.choice(
                (
                    {"contact_params": [f"q=0.{self._random.randrange(1, 9)}"]},
                    {"contact_user": f"fixed-{number}-{self._random.getrandbits(16)}"},
                    {"expires": 1500},
                )
            )
            if self._random.random() < 0.3:
                world.operator.control(number, self._random.choice(("pause", "resume")))
            else:
                world.operator.patch(number, **changes)
            world.computer.light_fuse(self._random.randrange(1, 14))
            world.pass_time(100.0)
            self._check_settled(Promise.CHANGES_ARE_WHOLE, f"after a kill in a change of {number}")

    def _follows_the_network(self) -> None:
        """Another address, or a long sleep: one REGISTER from there. An address that comes back: nothing at all."""
        world = self._world
        computer = world.computer
        again = 1 if world.nat is None else 2  # the first one learns what the NAT makes of the new address
        address = other(computer.host.addresses[0])
        # A virtual connection does not send again what is lost while there is no address, so that may break it.
        for changes, most, over in (([(address,)], again, ("udp", "tcp")), ([(), (address,)], 0, ("udp",))):
            before = {aor: world.wire.attempts.get(f"<{aor}>", 0) for aor in world.promises.undisturbed(*over)}
            for addresses in changes:
                computer.change_addresses(*addresses)
                world.pass_time(0.5)
            self._arrives("a change of addresses")
            for aor, attempts in before.items():
                more = world.wire.attempts.get(f"<{aor}>", 0) - attempts
                if more > most:
                    raise Violation(Promise.FOLLOWED, f"{more} REGISTERs of {aor} for one change of addresses")
        computer.suspend(SLEEP)
        world.pass_time(SLEEP)
        self._arrives("a sleep")

    def _notices_silence(self) -> None:
        """Connections swallow everything and the NAT forgets everybody: who is answered keepalives comes back."""
        world = self._world
        promised = [site for site in world.sites.values() if site.flow_timer]
        if not promised:
            return
        world.pass_time(KEEPALIVE)  # that another address is seen takes one that was seen before
        for site in promised:
            for address in site.addresses:
                world.network.swallow(address)
        if world.nat is not None:
            world.nat.rebind()
        world.computer.disturbed_at = world.clock.now
        longest = max(site.flow_timer or 0 for site in promised)
        queue = (len(world.operator.ledger.profiles) + 1) / world.computer.settings.registration.rate
        world.pass_time(longest + NOTICED + queue)
        if lost := world.promises.reached.unreached(world.promises.registry, sites=promised):
            raise Violation(Promise.NOTICED, "; ".join(lost))
        # Whose request was under way could not know whether the server or the connection was dead: a canary tells.
        world.pass_time(world.computer.settings.registration.canary_interval + NOTICED)
        self._check_settled(Promise.NOTICED, "after a silence")

    def _arrives(self, event: str) -> None:
        """Soon after ``event`` everybody is registered once, from where the computer is."""
        world = self._world
        queue = (len(world.operator.ledger.profiles) + 1) / world.computer.settings.registration.rate
        world.pass_time(FOLLOWED + queue)
        self._check_settled(Promise.FOLLOWED, f"after {event}")
        if lost := world.promises.reached.unreached(world.promises.registry):
            raise Violation(Promise.FOLLOWED, f"after {event}: {'; '.join(lost)}")

    def _restarts_unseen(self) -> None:
        """A restart puts nothing on the wire for leases on UDP that are not due."""
        world = self._world
        computer = world.computer
        for graceful in (False, True):
            while not computer.writer.idle:
                world.pass_time(0.1)
            quiet = {aor: world.wire.attempts.get(f"<{aor}>", 0) for aor in world.promises.undisturbed("udp")}
            if graceful:
                computer.stop(False)
            else:
                computer.light_fuse(1)
            world.pass_time(30.0)
            for aor, attempts in quiet.items():
                if world.wire.attempts.get(f"<{aor}>", 0) != attempts:
                    raise Violation(Promise.RESTART_UNSEEN, f"a restart registered {aor} anew")
            world.pass_time(60.0)
            self._check_settled(Promise.RESTART_UNSEEN, "after a restart")

    def _gives_back(self) -> None:
        """A stop with de-registration leaves nothing behind, but where the server has moved away since the refresh."""
        world = self._world
        gone = world.promises.moved_away()
        world.computer.down = lambda: None
        world.computer.stop(True)
        world.pass_time(10.0)
        held = {
            aor: bindings
            for site in world.sites.values()
            for aor, bindings in site.all_bindings().items()
            if aor not in gone
        }
        if held:
            raise Violation(Promise.GIVEN_BACK, f"the service stopped and left {held}")

    def _check_file(self) -> None:
        """No password is on the disk in clear, nor the hash that digest authentication takes in its place."""
        world = self._world
        hashes = [
            ha1("MD5", known.content["registrar"]["username"], realm, known.password).encode()
            for known in world.operator.ledger.profiles.values()
            for realm in world.sites
        ]
        for path in world.computer.path.parent.iterdir():
            stored = path.read_bytes()
            if SECRET.encode() in stored or any(each in stored for each in hashes):
                raise Violation(Promise.SECRETS, f"a password, or its hash, is in {path.name}")
