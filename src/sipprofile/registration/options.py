"""The option tags that a REGISTER offers in Supported (RFC 3261 §19.2), and those a server made us leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Plan
from ..events import Reason
from ..sip.headers import split_list
from ..sip.message import Response
from ..sip.syntax import is_token
from .answers import shown

if TYPE_CHECKING:
    from .registration import Flow

SUPPORTED = ("path", "outbound", "gruu")
"""What we can do: RFC 3327, RFC 5626, RFC 5627."""
_BY_PLAN = {
    (outbound, gruu): ("path", *(("outbound",) if outbound else ()), *(("gruu",) if gruu else ()))
    for outbound in (False, True)
    for gruu in (False, True)
}


def of_plan(plan: Plan) -> tuple[str, ...]:
    """The tags that are offered where nobody has refused any."""
    return _BY_PLAN[plan.outbound, plan.gruu]


def offered(plan: Plan, flow: Flow) -> tuple[str, ...]:
    """The tags of the next REGISTER."""
    tags = of_plan(plan)
    return tuple(tag for tag in tags if tag not in flow.rare.without) if flow.rare.without else tags


def outbound_required(response: Response) -> bool:
    """Whether a 2xx says that the registrar keeps the binding by instance and reg-id (RFC 5626 §6)."""
    return "outbound" in _tags(response, "require")


def adapt(plan: Plan, flow: Flow, response: Response) -> Reason | None:
    """Offer what a 420, 421 or 439 wants from now on; the reason why that cannot be done, ``None`` when it is done."""
    status = response.status
    if status == 421:
        return _offer_again(flow, response)
    if status == 439:
        refused: tuple[str, ...] = ("outbound",)  # RFC 5626 §11.6: the first hop cannot do it
    else:
        refused = _tags(response, "unsupported")
    # RFC 3261 §21.4.15 demands an Unsupported header; without one it can be any of ours.
    drop = tuple(tag for tag in offered(plan, flow) if tag in refused or not refused)
    if not drop:
        if status == 439:
            return Reason.of("response", status, shown(response.reason))
        return Reason.of("extension_refused", status, _named(refused))
    flow.without = (*flow.without, *drop)
    flow.middle = b""
    if "outbound" in drop:
        flow.outbound = False
    return None


def _offer_again(flow: Flow, response: Response) -> Reason | None:
    demanded = _tags(response, "require")
    wanted = set(demanded)
    if not wanted or not wanted <= set(SUPPORTED) or wanted.isdisjoint(flow.without):
        return Reason.of("extension_required", response.status, _named(demanded))
    flow.without = tuple(tag for tag in flow.without if tag not in wanted)
    flow.middle = b""
    return None


def _tags(response: Response, header: str) -> tuple[str, ...]:
    tags = [tag.lower() for line in response.headers(header) for tag in split_list(line)]
    return tuple(tag for tag in tags if is_token(tag))


def _named(tags: tuple[str, ...]) -> str:
    return shown(", ".join(tags)) or "it does not say which"
