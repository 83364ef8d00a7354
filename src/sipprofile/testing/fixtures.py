"""pytest fixtures, found by pytest as soon as sipprofile is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sipprofile.testing.server import RegistrarServer

    _async_fixture = pytest.fixture
else:
    try:
        from pytest_asyncio import fixture as _async_fixture
    except ImportError:  # then whatever runs the asynchronous tests runs asynchronous fixtures too
        _async_fixture = pytest.fixture


@_async_fixture
async def sip_registrar() -> AsyncIterator[RegistrarServer]:
    """A SIP registrar on UDP and TCP of 127.0.0.1 with one user, "alice" with the password "secret".

    ::

        async def test_my_program(sip_registrar):
            sip_registrar.registrar.users["bob"] = "another"
            my_program.register("sip:alice@example.test", sip_registrar.uri, "alice", "secret")
            ...
            assert len(sip_registrar.bindings("sip:alice@example.test")) == 1
            sip_registrar.registrar.faults.status = 503  # see sipprofile.testing.faults

    The realm is "example.test". Asynchronous tests need pytest-asyncio.
    """
    from sipprofile.testing.server import RegistrarServer

    async with RegistrarServer(users={"alice": "secret"}) as server:
        yield server
