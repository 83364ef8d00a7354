"""What the service asks others about: names, and access tokens. The answers go back into the core."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..net.resolver import ResolveFailed, Resolver
from ..registration.actions import FetchToken, Resolve
from ..service.service import Service
from ..sip.locating import Question
from . import clock
from .configuration import TokenSource
from .token_sources import TokenUnavailable, fetch_token


class Lookups:
    """Performs ``Resolve`` and ``FetchToken``. ``begin`` runs a coroutine, ``tell`` gives the core an input."""

    def __init__(
        self,
        service: Service,
        resolver: Resolver,
        token_sources: Mapping[str, TokenSource],
        log: Any,
        begin: Callable[[Coroutine[Any, Any, None]], None],
        tell: Callable[..., bool],
    ) -> None:
        self._service = service
        self._resolver = resolver
        self._token_sources = token_sources
        self._log = log
        self._begin = begin
        self._tell = tell

    def resolve(self, effect: Resolve) -> None:
        """Look a name up."""
        self._begin(self._look_up(effect.question))

    def fetch_token(self, effect: FetchToken) -> None:
        """Get an access token from its source."""
        self._begin(self._get_token(effect.source))

    async def _look_up(self, question: Question) -> None:
        try:
            found = await self._resolver.resolve(question)
        except ResolveFailed as error:
            self._tell(self._service.resolve_failed, question, error.code, error.retry_after)
        else:
            self._tell(self._service.resolved, question, found.records, found.ttl)

    async def _get_token(self, name: str) -> None:
        try:
            token, lifetime = await fetch_token(self._token_sources.get(name), clock.utc())
        except TokenUnavailable as error:
            self._log.warning("no access token", source=name, reason=str(error))
            self._tell(self._service.token_not_fetched, name)
        else:
            self._tell(self._service.token_fetched, name, token, lifetime)
