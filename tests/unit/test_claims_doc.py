"""docs/claims.md: every example is carried out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from claims_world import Owner, World

from sipprofile.claims import Claim, StandingClaim
from sipprofile.errors import SipProfileError

PAGE = (Path(__file__).parents[2] / "docs" / "claims.md").read_text()
EXAMPLES = re.findall(r"```claims\n(.*?)```(\n\nis refused)?", PAGE, re.DOTALL)
TYPE = re.compile(r"Content-Type: (\S+)")


def carry_out(example: str) -> None:
    world = World()
    owners: dict[str, Owner] = {}
    for line in example.splitlines():
        claimed = re.fullmatch(r"(\w+) +(\{.*?\})(?: +-> (\w+)(?: by (\w+))?)?", line)
        if claimed is not None:
            _claim(world, owners, *claimed.groups())
            continue
        request, _, expected = line.partition("->")
        method, *headers = (part.strip() for part in request.split("|"))
        content_type = next((found[1] for header in headers if (found := TYPE.fullmatch(header))), "")
        headers = [header for header in headers if not TYPE.fullmatch(header)]
        before = {name: len(owner.told) for name, owner in owners.items()}
        incoming = world.receive(method, *headers, body="x" if content_type else "", content_type=content_type)
        told = [name for name, owner in owners.items() if len(owner.told) > before[name]]
        found = ", ".join(told) if told else f"nobody: {incoming.status}"
        assert found == expected.strip(), line


def _claim(world: World, owners: dict[str, Owner], name: str, text: str, code: str | None, by: str | None) -> None:
    claim = msgspec.convert(json.loads(text), Claim)
    owner = owners.setdefault(name, Owner(name))
    if code is None:
        world.claims.claim(owner, 1, claim, None, world.now)
        return
    with pytest.raises(SipProfileError) as caught:
        world.claims.claim(owner, 1, claim, None, world.now)
    assert (caught.value.code, caught.value.members.get("by")) == (code, by), text


@pytest.mark.parametrize(("example", "refused"), EXAMPLES, ids=[str(number) for number in range(len(EXAMPLES))])
def test_example(example: str, refused: str) -> None:
    if refused:
        with pytest.raises(SipProfileError, match="Not a feature tag"):
            carry_out(example)
    else:
        carry_out(example)


def test_all_examples_are_found() -> None:
    assert len(EXAMPLES) == PAGE.count("```claims") >= 11
    assert sum(bool(refused) for _, refused in EXAMPLES) == 1


def test_the_example_of_a_profile_can_be_saved() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    claims = msgspec.convert(json.loads(example)["claims"], list[StandingClaim])
    assert [claim.to for claim in claims] == ["activate:pager", "webhook:desk", "bridge"]


def test_every_field_of_a_claim_is_documented() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(Claim.__struct_fields__) <= rows


def test_an_example_that_is_wrong_is_noticed() -> None:
    with pytest.raises(AssertionError):
        carry_out('bot {"methods": ["MESSAGE"]}\nINVITE -> bot')
