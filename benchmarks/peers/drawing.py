"""A drawing of lines, dots and texts, as SVG or as PNG: enough for a plot, so that no library is needed for one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from html import escape

import msgspec

from benchmarks.peers.font import GLYPHS, HEIGHT, WIDTH

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
SCALE = 2  # pixels of the PNG per unit


class Line(msgspec.Struct, frozen=True):
    points: tuple[tuple[float, float], ...]
    colour: Colour
    width: int = 1


class Dot(msgspec.Struct, frozen=True):
    x: float
    y: float
    colour: Colour
    radius: int = 3


class Text(msgspec.Struct, frozen=True):
    """At its baseline; `anchor` is where of it x is: start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    colour: Colour = (40, 40, 40)


class Drawing(msgspec.Struct):
    width: int
    height: int
    title: str
    parts: list[Line | Dot | Text] = []


def svg(drawing: Drawing) -> str:
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f"<title>{escape(drawing.title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for part in drawing.parts:
        colour = "#{:02x}{:02x}{:02x}".format(*part.colour)
        if isinstance(part, Line):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.points)
            lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{part.width}"/>')
        elif isinstance(part, Dot):
            lines.append(f'<circle cx="{part.x:.1f}" cy="{part.y:.1f}" r="{part.radius}" fill="{colour}"/>')
        else:
            place = f'x="{part.x:.1f}" y="{part.y:.1f}" text-anchor="{part.anchor}"'
            lines.append(f'<text {place} fill="{colour}">{escape(part.text)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def png(drawing: Drawing) -> bytes:
    """The same in pixels, `SCALE` per unit; without smoothing."""
    width, height = drawing.width * SCALE, drawing.height * SCALE
    pixels = bytearray(bytes(WHITE) * (width * height))

    def paint(x: int, y: int, colour: Colour) -> None:
        if 0 <= x < width and 0 <= y < height:
            at = 3 * (y * width + x)
            pixels[at : at + 3] = bytes(colour)

    for part in drawing.parts:
        for x, y in _pixels(part):
            paint(x, y, part.colour)
    rows = b"".join(b"\0" + pixels[3 * width * row : 3 * width * (row + 1)] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _pixels(part: Line | Dot | Text) -> Iterator[tuple[int, int]]:
    if isinstance(part, Line):
        for begin, end in zip(part.points, part.points[1:], strict=False):
            yield from _segment(begin, end, part.width * SCALE)
    elif isinstance(part, Dot):
        radius = part.radius * SCALE
        yield from _disc(round(part.x * SCALE), round(part.y * SCALE), radius)
    else:
        yield from _letters(part)


def _segment(begin: tuple[float, float], end: tuple[float, float], width: int) -> Iterator[tuple[int, int]]:
    steps = round(max(abs(end[0] - begin[0]), abs(end[1] - begin[1])) * SCALE) or 1
    for step in range(steps + 1):
        x = round((begin[0] + (end[0] - begin[0]) * step / steps) * SCALE)
        y = round((begin[1] + (end[1] - begin[1]) * step / steps) * SCALE)
        for across in range(width):
            yield x + across - width // 2, y
            yield x, y + across - width // 2


def _disc(x: int, y: int, radius: int) -> Iterator[tuple[int, int]]:
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down * down + right * right <= radius * radius:
                yield x + right, y + down


def _letters(part: Text) -> Iterator[tuple[int, int]]:
    advance = (WIDTH + 1) * SCALE
    length = advance * len(part.text)
    left = round(part.x * SCALE) - {"start": 0, "middle": length // 2, "end": length}[part.anchor]
    top = round(part.y * SCALE) - HEIGHT * SCALE
    for place, letter in enumerate(part.text):
        for row, bits in enumerate(GLYPHS.get(letter, GLYPHS["?"])):
            for column in range(WIDTH):
                if bits >> (WIDTH - 1 - column) & 1:
                    for pixel in range(SCALE * SCALE):
                        x = left + place * advance + column * SCALE + pixel % SCALE
                        yield x, top + row * SCALE + pixel // SCALE
