"""The routes of profiles: create, find, read, change, remove, control."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import SipProfileError
from ..service.operations import (
    DEFAULT,
    Control,
    Create,
    Get,
    History,
    List,
    Patch,
    Reference,
    Remove,
    Replace,
    SendMessage,
    Test,
    Verb,
)
from ..service.policy import Capability
from .routes import (
    DAEMON,
    Handler,
    Parameter,
    Route,
    actor_of,
    json_answer,
    json_body,
    query_values,
    whole_number,
)

PAGE = 100  # profiles in an answer unless asked for otherwise
LONGEST_PAGE = 1000
LARGEST_ID = 2**63 - 1


def reference(request: web.Request) -> Reference:
    """The profile that the path names: an id, a name, or ``"default"``."""
    found = request.match_info
    if "id" in found:
        return whole_number(found["id"], "id", 1, LARGEST_ID)
    name = found.get("name", DEFAULT)
    if name == DEFAULT and "name" in found:  # no profile has it, and the word must not mean another one here
        raise SipProfileError("not_found", "There is no profile with this name.", field="name", value=name)
    return name


def expected_revision(request: web.Request) -> int | None:
    """The revision in If-Match (RFC 9110 §13.1.1), ``None`` without one or for ``*``."""
    given = request.headers.get("If-Match", "*").strip()
    if given == "*":
        return None
    if len(given) > 2 and given[0] == given[-1] == '"':
        number = given[1:-1]
        if number.isascii() and number.isdecimal() and len(number) <= 19:
            return int(number)
    raise SipProfileError("bad_request", "If-Match is one ETag of the profile.", field="If-Match", value=given)


def document_answer(document: dict[str, Any], status: int = 200, **headers: str) -> web.Response:
    """A profile's document with its ETag."""
    return json_answer(document, status=status, headers={"ETag": f'"{document["revision"]}"', **headers})


async def create(request: web.Request) -> web.Response:
    document = await request.app[DAEMON].ask(actor_of(request), Create(await json_body(request)))
    return document_answer(document, 201, Location=f"/v1/profiles/{document['id']}")


async def find(request: web.Request) -> web.Response:
    query = query_values(request, ("type", "aor", "label", "status", "cursor", "limit"))
    operation = List(
        type=query.get("type"),
        aor=query.get("aor"),
        label=query.get("label"),
        status=query.get("status"),
        after=whole_number(query.get("cursor", "0"), "cursor", 0, LARGEST_ID),
        limit=whole_number(query.get("limit", str(PAGE)), "limit", 1, LONGEST_PAGE),
    )
    return json_answer(await request.app[DAEMON].ask(actor_of(request), operation))


async def get(request: web.Request) -> web.Response:
    return document_answer(await request.app[DAEMON].ask(actor_of(request), Get(reference(request))))


async def replace(request: web.Request) -> web.Response:
    operation = Replace(reference(request), await json_body(request), expected_revision(request))
    return document_answer(await request.app[DAEMON].ask(actor_of(request), operation))


async def patch(request: web.Request) -> web.Response:
    operation = Patch(reference(request), await json_body(request), expected_revision(request))
    return document_answer(await request.app[DAEMON].ask(actor_of(request), operation))


async def remove(request: web.Request) -> web.Response:
    operation = Remove(reference(request), expected_revision(request))
    await request.app[DAEMON].ask(actor_of(request), operation)
    return web.Response(status=204)


async def history(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].ask(actor_of(request), History(reference(request))))


async def test(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].ask(actor_of(request), Test(reference(request))))


async def message(request: web.Request) -> web.Response:
    operation = SendMessage(reference(request), await json_body(request))
    return json_answer(await request.app[DAEMON].ask(actor_of(request), operation))


def control(verb: Verb) -> Handler:
    """The handler of ``POST …/{verb}``."""

    async def handler(request: web.Request) -> web.Response:
        operation = Control(reference(request), verb)
        return document_answer(await request.app[DAEMON].ask(actor_of(request), operation))

    return handler


ID = Parameter("id", "path", "The profile's id.", {"type": "integer", "minimum": 1})
NAME = Parameter("name", "path", "The profile's name.", {"type": "string", "maxLength": 64})
IF_MATCH = Parameter("If-Match", "header", "The ETag that the profile must still have.", {"type": "string"})
TEXT: dict[str, Any] = {"type": "string"}
FILTERS = (
    Parameter("type", "query", "Only profiles of this type.", TEXT),
    Parameter("aor", "query", "Only profiles of this address-of-record, compared as URIs.", TEXT),
    Parameter("label", "query", "Only profiles with this label: key or key=value.", TEXT),
    Parameter("status", "query", "Only profiles with this registration status.", TEXT),
    Parameter("cursor", "query", "The cursor of the page before.", TEXT),
    Parameter("limit", "query", "Profiles on a page.", {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE}),
)

VERBS: tuple[tuple[Verb, Capability, str], ...] = (
    ("force-disable", "control", "Detach every user at once, without SIP, until it is enabled again."),
    ("pause", "control", "De-register and stay down until resumed."),
    ("resume", "control", "End a pause or a force-disable."),
    ("retry-now", "control", "Try now instead of at the next planned time."),
    ("default", "write", "Make it the default profile."),
)


def _of_one(path: str, by: str, *where: Parameter) -> tuple[Route, ...]:
    """The routes of one profile, named by its id, by its name, or as the default one."""
    return (
        Route("GET", path, get, f"getProfile{by}", "Read a profile.", ("read",), where, None, "ProfileDocument"),
        Route(
            "PUT",
            path,
            replace,
            f"replaceProfile{by}",
            "Replace a profile; an absent password is kept.",
            ("write",),
            (*where, IF_MATCH),
            "Profile",
            "ProfileDocument",
        ),
        Route(
            "PATCH",
            path,
            patch,
            f"patchProfile{by}",
            "Change parts of a profile (RFC 7396).",
            ("write",),
            (*where, IF_MATCH),
            "MergePatch",
            "ProfileDocument",
        ),
        Route(
            "DELETE",
            path,
            remove,
            f"removeProfile{by}",
            "Remove a profile that has no users.",
            ("write",),
            (*where, IF_MATCH),
            status=204,
        ),
        Route(
            "GET",
            path + "/history",
            history,
            f"getHistory{by}",
            "The last 32 changes of status, oldest first.",
            ("read",),
            where,
            None,
            "History",
        ),
        Route(
            "POST",
            path + "/test",
            test,
            f"testProfile{by}",
            "Explain step by step how registering goes.",
            ("read",),
            where,
            None,
            "TestReport",
        ),
        Route(
            "POST",
            path + "/message",
            message,
            f"sendMessage{by}",
            "Send a MESSAGE (RFC 3428), registering if need be, and answer with its final response.",
            ("use",),
            where,
            "Message",
            "MessageResponse",
        ),
        *(
            Route(
                "POST",
                f"{path}/{verb}",
                control(verb),
                verb.replace("-", "_") + f"Profile{by}",
                summary,
                (capability,),
                where,
                None,
                "ProfileDocument",
            )
            for verb, capability, summary in VERBS
        ),
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/profiles",
        create,
        "createProfile",
        "Create a profile; the first becomes the default.",
        ("write",),
        (),
        "Profile",
        "ProfileDocument",
        201,
    ),
    Route("GET", "/v1/profiles", find, "listProfiles", "Find profiles.", ("read",), FILTERS, None, "ProfilePage"),
    *_of_one("/v1/profiles/default", "Default"),
    *_of_one("/v1/profiles/by-name/{name}", "ByName", NAME),
    *_of_one("/v1/profiles/{id}", "", ID),
)
