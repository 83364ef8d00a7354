"""The user agent of all profiles (RFC 3261 §6)."""

from ..registration import registrations as registrations  # first: its modules refer to one another
