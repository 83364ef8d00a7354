"""The service's randomness: unpredictable, of every length, and asked of the system in blocks."""

from __future__ import annotations

import os

import pytest

from sipprofile.server import randomness
from sipprofile.server.randomness import WORDS, ServiceRandom


class System:
    """Stands for the system's source: notes how much it was asked for, and gives what it is told."""

    def __init__(self, fill: bytes = b"") -> None:
        self.asked: list[int] = []
        self._fill = fill

    def urandom(self, size: int) -> bytes:
        self.asked.append(size)
        return (self._fill * size)[:size] if self._fill else os.urandom(size)


@pytest.mark.parametrize("bits", [1, 7, 8, 32, 63, 64, 65, 120, 128])
def test_numbers_have_as_many_bits_as_are_asked_for(bits: int) -> None:
    random = ServiceRandom()
    drawn = 0
    for _ in range(200):
        number = random.getrandbits(bits)
        assert 0 <= number < 1 << bits
        drawn |= number
    assert drawn == (1 << bits) - 1


def test_the_system_is_asked_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    random = ServiceRandom()
    system = System()
    monkeypatch.setattr(randomness, "os", system)
    numbers = [random.getrandbits(64) for _ in range(WORDS + 1)]
    assert system.asked == [8 * WORDS, 8 * WORDS]
    assert len(set(numbers)) == len(numbers)


def test_every_bit_is_the_system_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "os", System(b"\xa5"))
    random = ServiceRandom()
    assert (random.getrandbits(64), random.getrandbits(4)) == (0xA5A5A5A5A5A5A5A5, 0xA)


def test_choices_do_not_come_from_the_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    random = ServiceRandom()
    monkeypatch.setattr(random, "random", None)
    assert {random.randrange(10) for _ in range(500)} == set(range(10))
    assert sorted(random.sample(range(10), 10)) == list(range(10))


def test_nothing_is_drawn_from_no_bits_or_fewer() -> None:
    assert ServiceRandom().getrandbits(0) == 0
    with pytest.raises(ValueError, match="non-negative"):
        ServiceRandom().getrandbits(-1)
