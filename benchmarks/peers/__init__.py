"""The same work for sipprofile and for others that hold registrations: ``python -m benchmarks.peers``."""
