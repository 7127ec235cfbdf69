"""Black tiles, as small as their formats allow: a missing tile and its headers fit into one packet."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from catmaid_deploy.render import KEPT, can_keep

_FORMATS = {"png": "PNG", "webp": "WEBP"}
# A run of blocks without anything in them: the longest that JPEG knows.
_LONGEST_RUN = 32767


@cache
def image(size: int, suffix: str) -> bytes:
    """A black square of so many pixels a side: ``jpg``, ``jpeg``, ``png`` or ``webp``."""
    return _jpeg(size) if suffix in ("jpg", "jpeg") else _pillows(size, suffix)


def _pillows(size: int, suffix: str) -> bytes:
    kept = KEPT / f"black-{size}.{suffix}"
    with suppress(OSError):
        return kept.read_bytes()
    # Only here: Pillow takes longer to load than all tasks together.
    from PIL import Image

    data = io.BytesIO()
    Image.new("L" if suffix != "webp" else "RGB", (size, size)).save(data, _FORMATS[suffix], optimize=True)
    if can_keep():
        with NamedTemporaryFile(dir=KEPT, delete=False) as new:
            new.write(data.getvalue())
        Path(new.name).replace(kept)
    return data.getvalue()


def _jpeg(size: int) -> bytes:
    """A grey JPEG in two scans (ITU-T T.81, annex G): a bit a block, and one run over all that they leave out.

    Pillow's encoder says of each block anew that it is empty: 1,185 bytes for 512 pixels, where these are 684.
    """
    blocks = ((size + 7) // 8) ** 2
    # Black is -1024, which is -8 steps of 128, said once: all blocks after the first differ from it by nothing.
    levels = "10" + "0111" + "0" * (blocks - 1)
    whole, rest = divmod(blocks, _LONGEST_RUN)
    runs = [_LONGEST_RUN] * whole + [rest] * bool(rest)
    # A run is its width in bits, by a Huffman code, and all its bits but the first.
    widths = sorted({run.bit_length() - 1 for run in runs})
    empty = "".join("1" * widths.index(run.bit_length() - 1) + "0" + f"{run:b}"[1:] for run in runs)
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            _segment(0xDB, bytes([0, 128] + [255] * 63)),
            _segment(0xC2, struct.pack(">BHHB3B", 8, size, size, 1, 1, 0x11, 0)),
            _codes(0x00, [0, 4]),
            _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])),
            _bits(levels),
            _codes(0x10, [width << 4 for width in widths]),
            _segment(0xDA, bytes([1, 1, 0, 1, 63, 0])),
            _bits(empty),
            b"\xff\xd9",
        )
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _codes(table: int, symbols: list[int]) -> bytes:
    """A Huffman table in which the first symbol is 0, the second 10, and so on."""
    lengths = [1] * len(symbols) + [0] * (16 - len(symbols))
    return _segment(0xC4, bytes([table, *lengths, *symbols]))


def _bits(text: str) -> bytes:
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
