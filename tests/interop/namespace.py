"""Network namespaces joined by veth pairs: real interfaces with addresses and an MTU of their own, seen by nobody else.

    with Namespace() as near, Namespace() as far:
        near.link(far, mtu=1500)
        subprocess.Popen(far.command("kamailio", ...))      # listens on far.address

Needs root with CAP_SYS_ADMIN and iproute2; :func:`unavailable` says what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from .missing import cannot_run

PREFIX = "sipprofile"  # of their names: PREFIX-pid-number
NETWORK, NETWORK_6 = "192.0.2.", "2001:db8::"  # RFC 5737, RFC 3849
CLONE_NEWNET = 0x40000000  # <linux/sched.h>

_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def unavailable() -> str:
    """Why there can be no namespaces here; empty when there can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed; `apt-get install iproute2` brings it"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Namespace() as one, Namespace() as other:
            one.link(other)
    except RuntimeError as error:
        return f"this machine allows no network namespaces: {error}"
    return ""


def require_namespaces() -> None:
    """Skip the test, in CI fail it, where there can be no namespaces."""
    if sentence := unavailable():
        cannot_run(sentence)


class Namespace:
    """One network namespace with its loopback up; at the end it goes, with every interface and route in it.

    Processes started in it must have ended by then. What a killed test run has left is removed by the next one.
    """

    def __init__(self) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self.address = "127.0.0.1"
        """The IPv4 address of the last link."""
        self.address_6 = "::1"

    def __enter__(self) -> Self:
        _remove_abandoned()
        _ip("netns", "add", self.name)
        try:
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def link(self, other: Namespace, *, mtu: int = 1500, number: int = 0) -> None:
        """Join it to ``other`` by a cable. This end is 192.0.2.1 and 2001:db8::1, the other one 192.0.2.2 and
        2001:db8::2, each plus 4 × ``number`` for a further link."""
        first = 4 * number + 1
        near, far = f"veth{number}", f"veth{number}"
        ends = ("peer", "name", far, "netns", other.name)
        self.ip("link", "add", near, "mtu", str(mtu), "type", "veth", *ends)
        other.ip("link", "set", far, "mtu", str(mtu))
        for namespace, interface, last in ((self, near, first), (other, far, first + 1)):
            namespace.address, namespace.address_6 = f"{NETWORK}{last}", f"{NETWORK_6}{last:x}"
            namespace.ip("address", "add", f"{namespace.address}/30", "dev", interface)
            if mtu >= 1280:  # less is not for IPv6 (RFC 8200 §5)
                namespace.ip("-6", "address", "add", f"{namespace.address_6}/126", "dev", interface, "nodad")
            namespace.ip("link", "set", interface, "up")

    def command(self, *command: str) -> list[str]:
        """The command line that runs ``command`` inside; the process id is that of ``command`` itself."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str) -> str:
        """What a short ``command`` prints inside; raises RuntimeError with its errors."""
        return _run(*self.command(*command))

    def ip(self, *arguments: str) -> str:
        """iproute2 about the inside: ``ip("route", "add", …)``."""
        return _ip("-n", self.name, *arguments)

    def ip_all(self, commands: Iterable[str]) -> None:
        """Each of ``commands`` as :meth:`ip` would, in one process."""
        _run("ip", "-n", self.name, "-batch", "-", given="".join(f"{command}\n" for command in commands))

    def swallow(self, protocol: str) -> None:
        """Drop what comes in over ``protocol`` (tcp, udp, icmp) on the first link, telling nobody."""
        self.ip("rule", "add", "pref", "10", "lookup", "local")
        self.ip("rule", "add", "pref", "5", "iif", "veth0", "ipproto", protocol, "blackhole")
        self.ip("rule", "delete", "pref", "0")

    def lose(self, address: str, *, end: bool = False) -> None:
        """Drop what is sent to ``address`` from here, until ``end``. No address or route changes, so nobody is told."""
        rule = ("pref", "5", "to", address, "blackhole")
        if end:
            self.ip("rule", "delete", *rule)
            return
        if "lookup local" not in self.ip("rule", "show", "pref", "10"):
            self.ip("rule", "add", "pref", "10", "lookup", "local")
            self.ip("rule", "delete", "pref", "0")
        self.ip("rule", "add", *rule)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The sockets that this thread opens meanwhile are inside, and stay there."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            within = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                _set_namespace(within)
            finally:
                os.close(within)
            try:
                yield
            finally:
                _set_namespace(outside)
        finally:
            os.close(outside)

    def _remove(self) -> None:
        with contextlib.suppress(RuntimeError):
            _ip("netns", "delete", self.name)


@contextlib.contextmanager
def routed(mtu: int) -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """Two namespaces and the router between them, whose link to the second one carries ``mtu`` bytes."""
    with Namespace() as near, Namespace() as router, Namespace() as far:
        near.link(router)
        gateway = router.address
        router.link(far, mtu=mtu, number=1)
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        near.ip("route", "add", "default", "via", gateway)
        far.ip("route", "add", "default", "via", router.address)
        yield near, router, far


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _remove_abandoned() -> None:
    """Remove the namespaces of test runs that are no more."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        owner = path.name.split("-")[1]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            with contextlib.suppress(RuntimeError):
                _ip("netns", "delete", path.name)


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
