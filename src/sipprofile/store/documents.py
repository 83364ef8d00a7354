"""A profile as the text in its row: JSON with every secret sealed."""

from __future__ import annotations

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile, ServerParameters
from sipprofile.store.secrets import KeyRing, key_of

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Profile).decode


def sealed(profile: Profile, keys: KeyRing) -> tuple[str, str | None]:
    """The profile's document and the id of the key that sealed its secrets, ``None`` when it has none.

    Whether it is the default is not in it: that belongs to the row, since it changes with another profile.
    """
    used: list[str] = []

    def seal(server: ServerParameters, place: str) -> ServerParameters:
        password, tls = server.password, server.tls
        if password is not None:
            password = keys.seal(password, f"{place}.password")
            used.append(key_of(password))
        if tls is not None and tls.private_key is not None:
            private_key = keys.seal(tls.private_key, f"{place}.tls.private_key")
            used.append(key_of(private_key))
            tls = msgspec.structs.replace(tls, private_key=private_key)
        return msgspec.structs.replace(server, password=password, tls=tls)

    registrar = profile.registrar
    if registrar is not None:
        registrar = seal(registrar, f"profile:{profile.id}:registrar")
    proxies = [seal(proxy, f"profile:{profile.id}:proxies.{n}") for n, proxy in enumerate(profile.proxies)]
    plain = msgspec.structs.replace(profile, registrar=registrar, proxies=proxies, default=False)
    return _encode(plain).decode(), used[-1] if used else None


def opened(number: int, document: str, default: bool, keys: KeyRing) -> Profile:
    """The profile of row ``number`` with its secrets opened; raises ``missing_key`` or ``store_damaged``."""
    try:
        profile = _decode(document)
    except msgspec.DecodeError as error:
        raise SipProfileError("store_damaged", f"The profile {number} cannot be read: {error}.") from None
    profile.default = default
    if profile.registrar is not None:
        _open(profile.registrar, "registrar", number, keys)
    for n, proxy in enumerate(profile.proxies):
        _open(proxy, f"proxies.{n}", number, keys)
    return profile


def _open(server: ServerParameters, place: str, number: int, keys: KeyRing) -> None:
    password = server.password
    if password is not None:
        server.password = keys.open(password, f"profile:{number}:{place}.password")
    if server.tls is not None and server.tls.private_key is not None:
        server.tls.private_key = keys.open(server.tls.private_key, f"profile:{number}:{place}.tls.private_key")
