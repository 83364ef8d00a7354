"""A publication of the application's state (PUBLISH, RFC 3903), which the service keeps alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RequestRefused, SipProfileError

if TYPE_CHECKING:
    from .outgoing import OutgoingRequest
    from .response import Response
    from .sip_connection import SipConnection


class Publication:
    """State that was published with :meth:`~.sip_connection.SipConnection.publish`. Leaving its block removes it."""

    def __init__(
        self, connection: SipConnection, event: str, uri: str | None, expires: int, headers: list[tuple[str, str]]
    ) -> None:
        self.connection = connection
        self.event = event
        self.uri = uri
        self.expires = expires
        self._headers = [("Event", event), *headers]
        self.outgoing: OutgoingRequest | None = None
        """The PUBLISH that is kept alive; ``None`` when it is removed."""

    async def modify(self, body: bytes | str, content_type: str) -> None:
        """Publish another state in place of the present one (RFC 3903 §4.4).

        Raises :class:`RequestRefused`; then the present one stays as it is.
        """
        before = self.outgoing if self.outgoing is not None and self.outgoing.state != "terminated" else None
        etag = before.response.header("SIP-ETag") if before is not None and before.response is not None else None
        sent, response = await self._publish(body, content_type, etag)
        if response.status == 412 and before is not None:  # the server has lost it
            before.finish()
            self.outgoing = before = None
            sent, response = await self._publish(body, content_type, None)
        if not response.ok:
            raise RequestRefused("PUBLISH", response)
        self.outgoing = sent
        if before is not None and etag is not None:
            before.finish()
        elif before is not None:
            await before.stop_refresh()

    async def _publish(
        self, body: bytes | str, content_type: str, etag: str | None
    ) -> tuple[OutgoingRequest, Response]:
        headers = self._headers if etag is None else [*self._headers, ("SIP-If-Match", etag)]
        sent = await self.connection.start(
            "PUBLISH", self.uri, body=body, content_type=content_type, headers=headers, refresh=self.expires
        )
        response = await sent.final()
        if not response.ok:
            sent.finish()
        return sent, response

    async def remove(self) -> None:
        """Take it back: PUBLISH with ``Expires: 0``. Does nothing twice."""
        outgoing, self.outgoing = self.outgoing, None
        if outgoing is None or outgoing.state == "terminated":
            return
        try:
            await outgoing.stop_refresh()
        except SipProfileError as error:
            if error.code != "not_found":  # it had ended by itself
                raise

    async def __aenter__(self) -> Publication:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove it."""
        if not self.connection.closed:
            await self.remove()
