"""What the service keeps: nothing of who has ended, and nothing at all when everybody is gone."""

from __future__ import annotations

from collections.abc import Collection

from sipprofile.service.claims import Held
from sipprofile.service.service import Service
from sipprofile.service.session_owner import SessionOwner
from sipprofile.testing.simulation.promise import Promise, Violation


def check_owners(service: Service) -> None:
    """No claim, request or dialog belongs to a session that has ended."""
    agent = service._agent
    owned: list[tuple[str, object, object]] = [("the claim", held.number, held.owner) for held in _claims(service)]
    owned += [("the dialog", leg.number, leg.owner) for leg in agent.legs.values()]
    owned += [("the request", each.number, each.owner) for each in agent.outgoing.values()]
    owned += [("the subscription", each.event, each.owner) for each in agent.subscriptions.all()]
    owned += [("the publication", each.first.number, each.owner) for each in agent.publications.by_number.values()]
    owned += [("the incoming request", each.number, each.owner) for each in agent.incoming.values() if not each.final]
    for what, number, owner in owned:
        if isinstance(owner, SessionOwner) and (
            not owner.session.open or owner.session.connections.get(owner.profile) is not owner
        ):
            raise Violation(Promise.NO_LEAKS, f"{what} {number} belongs to {owner!r}, which has ended")


def _claims(service: Service) -> list[Held]:
    return [held for profile in service._registry.ids for held in service._claims.of_profile(profile)]


def left(service: Service) -> list[str]:
    """Every table that is not empty."""
    agent = service._agent
    server, subscriptions, publications, notifiers = (
        agent.server,
        agent.subscriptions,
        agent.publications,
        agent.notifiers,
    )
    tables: dict[str, Collection[object]] = {
        "incoming": agent.incoming,
        "outgoing": agent.outgoing,
        "legs": agent.legs,
        "legs by dialog": agent.legs_by_dialog,
        "server transactions": server.by_key,
        "merged requests": server.merged,
        "unacknowledged": server.unacknowledged,
        "subscriptions": subscriptions.all(),
        "subscriptions by usage": subscriptions.by_usage,
        "subscriptions by request": subscriptions.by_request,
        "early subscriptions": subscriptions.early,
        "subscriptions of legs": subscriptions._by_leg,
        "subscriptions of owners": subscriptions._of_owner,
        "publications": publications.by_number,
        "publications by request": publications.by_request,
        "publications that wait": publications.waiting,
        "notifiers": notifiers.by_usage,
        "notifiers by request": notifiers.by_request,
        "claims": _claims(service),
        "owners with claims": service._claims._by_owner,
        "contests": service._delivery._contests,
    }
    found = [f"{name}: {list(table)[:3]}" for name, table in tables.items() if len(table)]
    counts = {
        "open transactions": server.open,
        "invited": len(server.invited),
        "requested": len(server.requested),
        "late": len(server._lates),
        "answered": len(server._answered),
        "sessions": len(service._sessions),
    }
    found += [f"{name}: {count}" for name, count in counts.items() if count]
    return found


def check_empty(service: Service) -> None:
    """Everybody has gone, and every timer run out."""
    if found := left(service):
        raise Violation(Promise.NO_LEAKS, "; ".join(found))
