"""The registrar's side of a subscription to our registration (RFC 3680)."""

from __future__ import annotations

from typing import Any

from machine_driver import Driver

DAY = 86_400


class Notifier:
    """The registrar's side of the subscription that a driver has made last."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.subscribe = [request for request in driver.requests if request.method == "SUBSCRIBE"][-1]
        self.cseq = 0
        self.version = 0

    @property
    def contact(self) -> str:
        return self.driver.flow().contact

    def notify(
        self,
        body: str = "",
        *,
        state: str = "active;expires=3600",
        event: str = "reg",
        kind: str = "application/reginfo+xml",
        cseq: int | None = None,
        tag: str = "notifier",
        call_id: str | None = None,
    ) -> Any:
        """Send a NOTIFY; what it is answered with."""
        self.cseq = self.cseq + 1 if cseq is None else cseq
        subscribe = self.subscribe
        lines = [
            f"NOTIFY {self.contact} SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKn{self.cseq}",
            f"From: <sip:alice1@192.0.2.1>;tag={tag}",
            f"To: {subscribe.header('from')}",
            f"Call-ID: {call_id or subscribe.header('call-id')}",
            f"CSeq: {self.cseq} NOTIFY",
            f"Event: {event}",
            f"Subscription-State: {state}",
            *([f"Content-Type: {kind}"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        told = self.driver.deliver(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return None if told is None else told[0]

    def tell(self, *contacts: str, kind: str = "full", registration: str = "active", **more: Any) -> Any:
        """A document with these contact elements and the next version."""
        self.version += 1
        return self.notify(document(self.version, *contacts, kind=kind, registration=registration), **more)

    def ours(self, event: str = "registered", state: str = "active", **attributes: Any) -> str:
        return contact(self.contact, "1", event, state, **attributes)


def contact(uri: str, id: str = "2", event: str = "registered", state: str = "active", **attributes: Any) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<contact id="{id}" state="{state}" event="{event}"{more}><uri>{uri}</uri></contact>'


def document(version: int, *contacts: str, kind: str = "full", registration: str = "active") -> str:
    return (
        f'<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="{version}" state="{kind}">'
        f'<registration aor="sip:alice1@192.0.2.1" id="r" state="{registration}">{"".join(contacts)}</registration>'
        "</reginfo>"
    )
