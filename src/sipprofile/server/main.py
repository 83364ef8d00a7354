"""``sipprofile serve``: build the daemon from its configuration, run it, and end it in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..errors import SipProfileError
from ..net.resolver import Resolver
from ..registration import native
from ..service.service import Service
from . import allocator, clock, configuration, connections, http, listening, logging, quick_path, state
from .access import Access, PeerRights
from .agents import load_agents
from .audit import AuditLog
from .configuration import Configuration
from .daemon import Daemon
from .deferred import import_when_idle
from .events import EventRing
from .notify import notify
from .publishing import Publishing
from .randomness import ServiceRandom
from .revocation import Revocation
from .tokens import Tokens
from .webhook_client import read_webhooks
from .webhooks import Webhooks

DEREGISTER_LIMIT = 10.0  # seconds a stop may wait for the registrars, and
DEREGISTER_RATE = 5000.0  # profiles a second beside that
GC_THRESHOLD = (50_000, 20, 100)  # what lives long is frozen after the load; the rest seldom has cycles
SWITCH_INTERVAL = 0.0005
"""Seconds that the loop waits for the interpreter at most when the store's thread has it, which it may take at each
system call. Python's own 5 ms come several times in a turn of the loop then."""
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: starting again does not help
LASTING = frozenset({"bad_configuration", "missing_key", "store_damaged"})


class ServeOptions(msgspec.Struct, frozen=True):
    """The command line's options; each goes before the configuration file's key."""

    config: Path | None = None
    state: Path | None = None
    socket: Path | None = None
    listen: str | None = None
    """``HOST:PORT``, an IPv6 address in brackets."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    log_format: str | None = None
    log_level: str | None = None


def serve(options: ServeOptions) -> int:
    """Run the service until it is told to stop; the result is the exit code of the process."""
    gc.disable()  # until everything is loaded, see _freeze()
    try:
        settings = with_options(configuration.load(options.config), options)
        log = logging.configure(settings.service.log_format, settings.service.log_level)
        _runner()(_serve(settings, log))
    except SipProfileError as error:
        with contextlib.suppress(OSError):
            print(f"sipprofile: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION if error.code in LASTING else 1
    except KeyboardInterrupt:  # before the service was ready
        return 130
    return 0


def with_options(settings: Configuration, options: ServeOptions) -> Configuration:
    """``settings`` with the command line's options in place; raises ``bad_configuration``."""
    replace = msgspec.structs.replace
    service, listen = settings.service, settings.listen
    for name in ("state", "socket", "log_format", "log_level"):
        value = getattr(options, name)
        if value is not None:
            service = replace(service, **{name: str(value)})
    if options.listen is not None:
        host, port = _host_and_port(options.listen)
        listen = replace(listen, host=host, port=port)
    if options.tls_certificate is not None or options.tls_key is not None:
        listen = replace(listen, tls_certificate=options.tls_certificate, tls_key=options.tls_key)
    if (listen.tls_certificate is None) != (listen.tls_key is None):
        raise SipProfileError("bad_configuration", "A TLS certificate and its key go together.", field="listen")
    listen = replace(
        listen,
        allowed_hosts=(*listen.allowed_hosts, *options.allowed_hosts),
        allowed_origins=(*listen.allowed_origins, *options.allowed_origins),
    )
    return replace(settings, service=service, listen=listen)


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise SipProfileError("bad_configuration", "Expected HOST:PORT.", field="listen", value=text)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _serve(settings: Configuration, log: Any) -> None:
    sys.setswitchinterval(SWITCH_INTERVAL)
    allocator.configure()
    directory = Path(settings.service.state or configuration.default_state())
    path = Path(settings.service.socket or configuration.default_socket())
    async with contextlib.AsyncExitStack() as stack:
        lock = state.lock(directory)
        stack.callback(lock.release)
        unix = listening.UnixListener(path)
        stack.callback(unix.close)
        tcp = None
        if settings.listen.port is not None:
            tcp = listening.tcp_listener(settings.listen.host, settings.listen.port)
            stack.callback(tcp.close)
        ring = EventRing(settings.limits.event_streams)
        daemon = await _make(settings, directory, path, ring, log, stack)
        await _open_interface(settings, directory, daemon, ring, (unix, tcp), log, stack)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: daemon.stop(deregister=False))
        loop.add_signal_handler(signal.SIGINT, lambda: daemon.stop(deregister=True))
        assert daemon.transports is not None
        await daemon.load()
        if not daemon.stopping.is_set():
            _freeze()
            later = asyncio.create_task(import_when_idle())
            stack.callback(later.cancel)
            known = {"version": __version__, "native": native.usable(), "sip_port": daemon.transports.port}
            log.info("ready", **known, socket=str(path), state=str(directory))
            notify("READY=1")
        await daemon.stopping.wait()
        notify("STOPPING=1")
        try:
            async with asyncio.timeout(DEREGISTER_LIMIT + daemon.service.counts()["profiles"] / DEREGISTER_RATE):
                await daemon.stopped.wait()
        except TimeoutError:
            log.warning("some registrars did not confirm in time; bindings may remain until their leases end")
        ring.close()
    log.info("stopped")


async def _make(
    settings: Configuration, directory: Path, path: Path, ring: EventRing, log: Any, stack: contextlib.AsyncExitStack
) -> Daemon:
    """The daemon with its SIP sockets open, before anything is loaded."""
    hooks = read_webhooks(settings.webhooks)
    store = state.open_store(directory)
    event_log = logging.EventLog(log, settings.service.log_level)
    webhooks = Webhooks(hooks, log)
    stack.push_async_callback(webhooks.close)
    offset = clock.wall_offset()
    publishing = Publishing(ring, event_log, webhooks)
    if (reason := quick_path.choose()) is not None:
        log.info("the compiled quick path is not used", reason=reason)
    service = Service(
        agents=load_agents(log),
        settings=settings.service_settings(),
        random=ServiceRandom(),
        now=clock.now(),
        wall_offset=offset,
        boot_id=clock.boot_id(),
        next_profile_id=store.next_profile_id(),
        listens=publishing.listens,
    )
    audit = AuditLog(log, settings.service.audit)
    stack.callback(audit.close)
    resolver = Resolver(nameservers=settings.sip.nameservers or None, clock=clock.now)
    daemon = Daemon(
        service,
        store=store,
        resolver=resolver,
        log=log,
        publish=publishing.publish,
        audit=audit.write,
        wall_offset=offset,
        token_sources=settings.token_sources,
        webhooks=webhooks,
        activate=settings.activate,
        url=f"unix:{path}",
    )
    stack.push_async_callback(daemon.close)
    await daemon.open_sockets(settings.sip.bind, settings.sip.port, accept=settings.sip.tcp_listen)
    return daemon


async def _open_interface(
    settings: Configuration,
    directory: Path,
    daemon: Daemon,
    ring: EventRing,
    listeners: tuple[listening.UnixListener, Any],
    log: Any,
    stack: contextlib.AsyncExitStack,
) -> None:
    """Answer on the Unix socket and, when configured, on TCP."""
    rights = PeerRights(settings.access.users, settings.access.groups)
    if rights.unknown:
        log.info("access names what this machine does not know", names=rights.unknown)
    if unknown := settings.claims.unknown():
        log.warning("claims.rules name what this machine does not know", names=unknown)
    listen = settings.listen
    tokens = Tokens(directory)
    access = Access(
        rights,
        tokens,
        allowed_hosts=("localhost", listen.host, *listen.allowed_hosts),
        allowed_origins=listen.allowed_origins,
    )
    revocation = Revocation(tokens)
    watching = asyncio.create_task(revocation.run())
    stack.callback(watching.cancel)
    most = connections.descriptors()

    async def serve_on(listener: socket.socket, limit: int, tls: Any = None) -> None:
        runner = http.runner(http.application(daemon, access, ring, revocation, log))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        server = await connections.serve(runner, listener, limit, log, tls)
        stack.callback(server.close)

    unix, tcp = listeners
    await serve_on(unix.socket, most // connections.UNIX_SHARE)
    if tcp is None:
        return
    tls = None
    if listen.tls_certificate is not None and listen.tls_key is not None:
        tls = listening.tls_context(listen.tls_certificate, listen.tls_key)
    elif not listening.is_loopback(tcp):
        log.warning("tokens and passwords travel in clear: set listen.tls_certificate and listen.tls_key")
    await serve_on(tcp, most // connections.TCP_SHARE, tls)
    host, port = tcp.getsockname()[:2]
    log.info("listening", host=host, port=port, tls=tls is not None)


def _freeze() -> None:
    """Collect garbage again, but do not look for it in what is there.

    To look once would take 40 ms of the start, and find half a megabyte that imports have left.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    gc.enable()
