"""The registry of an administrator (``CSIPManagedProfileRegistry``)."""

from __future__ import annotations

from typing import Any

import msgspec

from .. import profile as settings
from ..errors import SipProfileError
from ..profile import ProfileType
from .document import ProfileDocument, SavedDocument, SaveWarning, decode, identify, settings_of
from .profile import ManagedProfile, Profile
from .registry_base import RegistryBase, SupportedType


class ManagedProfileRegistry(RegistryBase[ManagedProfile]):
    """Creates, changes, copies and removes profiles; needs the capabilities ``read`` and ``write``."""

    async def create(self, type: str | ProfileType | SupportedType = "ietf") -> ManagedProfile:
        """A new profile with the type's defaults, not saved (``CreateL``); raises ``unknown_type``."""
        self._check_open()
        name = type if isinstance(type, str) else type.name
        for supported in await self.supported_types():
            if supported.name == name:
                return ManagedProfile(self, 0, _template(supported))
        raise SipProfileError("unknown_type", f"There is no profile type {name!r}.", field="type", value=name)

    async def save(self, profile: ManagedProfile) -> list[SaveWarning]:
        """Store a new profile, which gets its id, or the edits of a stored one (``SaveL``).

        Returns what is legal but unwise. Raises what validation finds, naming field and value,
        ``duplicate_name``, ``locked``, ``not_found``, and ``revision_mismatch`` when somebody else saved it
        since the first edit.
        """
        self._check_mine(profile)
        if not profile.id:
            content = await self.sip.request("POST", "/v1/profiles", _new(profile))
            id_ = identify(content).id
            self.records.add(id_, content)
            profile._id = id_
            profile.revert()
            await self.sip.command("hold", self._renew_all, profile=id_)
        else:
            patch = profile._patch()
            if not patch:
                return []
            if_match = {"If-Match": f'"{profile.revision}"'}
            content = await self.sip.request("PATCH", _path(profile), patch, headers=if_match)
            self.records.renew(content)
            profile.revert()
        return msgspec.json.decode(content, type=SavedDocument).warnings

    async def destroy(self, profile: ManagedProfile) -> None:
        """Remove a stored profile (``DestroyL``) and close the object.

        Raises ``in_use`` with the number of ``users`` when a session has enabled it, ``locked``,
        ``not_found``.
        """
        self._check_saved(profile)
        await self.sip.request("DELETE", _path(profile))
        await profile.close()

    async def clone(self, profile: Profile, name: str = "") -> ManagedProfile:
        """A copy to be saved as new (``CloneL``): same settings, no id, its own instance id.

        ``name`` must be free when it is saved. Passwords cannot be read, so they are not in the copy.
        """
        self._check_open()
        plain = settings_of(profile._settings())
        for assigned in ("id", "instance_id", "default", "contact_user"):
            plain.pop(assigned, None)
        return ManagedProfile(self, 0, msgspec.convert({**plain, "name": name}, ProfileDocument))

    async def is_in_use(self, profile: ManagedProfile) -> bool:
        """At least one session has enabled it (``IsInUseL``); ``register="always"`` alone does not count."""
        self._check_saved(profile)
        content = await self.sip.request("GET", _path(profile))
        self.records.renew(content)
        return identify(content).registration.users > 0

    async def set_default(self, profile: ManagedProfile) -> None:
        """Make it the default profile instead of the present one."""
        self._check_saved(profile)
        self.records.renew(await self.sip.request("POST", f"{_path(profile)}/default"))

    def _handle(self, id_: int) -> ManagedProfile:
        return ManagedProfile(self, id_)

    def _check_saved(self, profile: ManagedProfile) -> None:
        self._check_mine(profile)
        if not profile.id:
            raise SipProfileError("not_found", "The profile has not been saved yet.")


def _path(profile: ManagedProfile) -> str:
    return f"/v1/profiles/{profile.id}"


def _new(profile: ManagedProfile) -> dict[str, Any]:
    document = settings_of(profile._settings())
    document.pop("id", None)
    return document


def _template(supported: SupportedType) -> ProfileDocument:
    """The type's defaults as far as they differ from "not given"."""
    document: dict[str, Any] = {}
    for name in settings.Profile.__struct_fields__:
        default = supported.fields.get(name, {}).get("default")
        if default is not None:
            document[name] = default
    return decode(msgspec.json.encode({**document, "id": 0, "type": supported.name}))
