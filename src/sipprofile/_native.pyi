"""The core's quick path, compiled from native/ where that can be done; see registration/native.py."""

VERSION: str
"""The version of sipprofile, ``+``, and a short hash of the sources."""
