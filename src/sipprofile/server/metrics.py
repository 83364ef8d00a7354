"""``/metrics`` in Prometheus' text format: counts by status, reason and registrar, never a series per profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .. import __version__
from .daemon import Daemon
from .routes import DAEMON, Route

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

REGISTRARS = 100
"""Registrars that get series of their own; the profiles of all others are counted under ``other``."""

OPEN = (
    (
        "sipprofile_sip_requests_open",
        "SIP requests without a final answer, and INVITEs whose 2xx may still come again.",
        "direction",
        "requests_open",
    ),
    (
        "sipprofile_sip_transactions",
        "SIP transactions, with those that only absorb retransmissions.",
        "side",
        "transactions",
    ),
    ("sipprofile_bridged", "Legs and requests that bridges join.", "what", "bridges"),
)
"""Gauges: name, text, label, and the figure that they show."""


class DaemonCollector:
    """Makes the metrics anew for each scrape, from figures that the service keeps anyway."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts = self._daemon.service.counts()
        names = chosen(counts["registrations"])
        info = GaugeMetricFamily("sipprofile_info", "The version that runs.", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        by_state: Counter[tuple[str, str, str]] = Counter()
        for (status, reason, registrar), number in counts["registrations"].items():
            by_state[status, reason, registrar if registrar in names else "other"] += number
        registrations = GaugeMetricFamily(
            "sipprofile_registrations", "Registrations by their state.", labels=("status", "reason", "registrar")
        )
        for labels, number in by_state.items():
            registrations.add_metric(labels, number)
        yield registrations
        yield from self._queues(counts["queues"], names)
        yield GaugeMetricFamily("sipprofile_profiles", "Stored profiles.", value=counts["profiles"])
        yield GaugeMetricFamily("sipprofile_sessions", "Open sessions.", value=counts["sessions"])
        yield CounterMetricFamily(
            "sipprofile_register_sent",
            "REGISTER requests sent, without retransmissions.",
            value=counts["register_sent"],
        )
        yield CounterMetricFamily(
            "sipprofile_keepalives_sent",
            "CRLF pings and STUN requests sent, without retransmissions.",
            value=counts["keepalives_sent"],
        )
        yield CounterMetricFamily(
            "sipprofile_keepalive_failures",
            "Connections and UDP paths found dead by a keepalive.",
            value=counts["keepalive_failures"],
        )
        yield CounterMetricFamily(
            "sipprofile_requests_unanswered",
            "Incoming SIP requests beyond limits.answers.",
            value=counts["requests_unanswered"],
        )
        yield from self._shared(counts)
        transports = self._daemon.transports
        yield CounterMetricFamily(
            "sipprofile_datagrams_dropped",
            "Datagrams that the kernel did not take in time.",
            value=transports.dropped if transports is not None else 0,
        )
        yield from self._webhooks()
        yield GaugeMetricFamily(
            "sipprofile_store_failing", "1 while the store cannot be written.", value=bool(self._daemon.store_failing)
        )

    def _webhooks(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self._daemon.webhooks is None:
            return
        counters = {
            "delivered": CounterMetricFamily(
                "sipprofile_webhook_events_delivered", "Events that a webhook has taken.", labels=("webhook",)
            ),
            "failed": CounterMetricFamily(
                "sipprofile_webhook_attempts_failed", "Posts of events that failed.", labels=("webhook",)
            ),
            "dropped": CounterMetricFamily(
                "sipprofile_webhook_events_dropped", "Events that a webhook was not told of.", labels=("webhook",)
            ),
            "answered": CounterMetricFamily(
                "sipprofile_webhook_requests_answered", "SIP requests that a webhook has answered.", labels=("webhook",)
            ),
            "unanswered": CounterMetricFamily(
                "sipprofile_webhook_requests_unanswered",
                "SIP requests that a webhook was asked about and did not answer.",
                labels=("webhook",),
            ),
        }
        waiting = GaugeMetricFamily(
            "sipprofile_webhook_events_waiting", "Events that wait for a webhook.", labels=("webhook",)
        )
        for name, counts in self._daemon.webhooks.counts().items():
            for key, family in counters.items():
                family.add_metric((name,), counts[key])
            waiting.add_metric((name,), counts["waiting"])
        yield from counters.values()
        yield waiting

    def _shared(self, counts: dict[str, Any]) -> Iterator[Metric]:
        """What applications do through the profiles."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily(
            "sipprofile_sip_requests",
            "SIP requests that applications have sent (out) or answered (in).",
            labels=("direction", "method"),
        )
        for labels, number in counts["sip_requests"].items():
            requests.add_metric(labels, number)
        yield requests
        yield GaugeMetricFamily("sipprofile_claims", "Claims that hold.", value=counts["claims"])
        yield GaugeMetricFamily("sipprofile_dialogs", "SIP dialogs.", value=counts["dialogs"])
        for name, text, label, key in OPEN:
            family = GaugeMetricFamily(name, text, labels=(label,))
            for value, number in counts[key].items():
                family.add_metric((value,), number)
            yield family

    def _queues(self, queues: Any, names: frozenset[str]) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        waiting: Counter[str] = Counter()
        longest: dict[str, float] = {}
        for queue in queues:
            name = queue.registrar if queue.registrar in names else "other"
            waiting[name] += queue.waiting
            longest[name] = max(longest.get(name, 0.0), queue.seconds_to_empty)
        lengths = GaugeMetricFamily(
            "sipprofile_queue_waiting",
            "REGISTER requests that wait for the rate of their registrar.",
            labels=("registrar",),
        )
        times = GaugeMetricFamily(
            "sipprofile_queue_seconds", "Until the queue of the registrar is empty.", labels=("registrar",)
        )
        for name, number in waiting.items():
            lengths.add_metric((name,), number)
            times.add_metric((name,), longest[name])
        yield lengths
        yield times


def chosen(registrations: dict[tuple[str, str, str], int]) -> frozenset[str]:
    """The registrars with the most profiles."""
    sizes: Counter[str] = Counter()
    for (_, _, registrar), number in registrations.items():
        sizes[registrar] += number
    return frozenset(name for name, _ in sizes.most_common(REGISTRARS))


async def metrics(request: web.Request) -> web.Response:
    """Everything that a scrape asks for; the library is loaded by the first one."""
    from prometheus_client.exposition import generate_latest

    return web.Response(body=generate_latest(_registry(request.app[DAEMON])), headers={"Content-Type": TEXT_FORMAT})


def _registry(daemon: Daemon) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    registry.register(DaemonCollector(daemon))
    ProcessCollector(registry=registry)
    return registry


ROUTES = (
    Route(
        "GET",
        "/metrics",
        metrics,
        "getMetrics",
        "Figures for Prometheus.",
        ("read",),
        answer="Metrics",
        media="text/plain",
    ),
)
