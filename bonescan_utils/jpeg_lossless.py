"""JPEG Lossless streams, looked over before they are decoded.

GDCM ends the whole process where its JPEG library warns of anything in front of the pixels, so nothing else than an
orderly row of segments is handed to it (ITU-T T.81, annex B). A stream of another JPEG process, most of which lose
detail, is refused whatever the transfer syntax says of it.
"""

from __future__ import annotations

from bonescan_utils.scan import ScanError

_SOF3, _DHT, _SOS, _DRI, _COM, _APP0 = 0xC3, 0xC4, 0xDA, 0xDD, 0xFE, 0xE0
_HARMLESS = {_DHT, _DRI, _COM, *range(_APP0, _APP0 + 16)}
_OTHER_FRAMES = {*range(0xC0, 0xD0)} - {_SOF3, _DHT, 0xC8, 0xCC}


def check_stream(stream: bytes, *, rows: int, columns: int) -> None:
    """Checks the segments of a stream up to its pixels.

    Args:
        stream: One frame, from its SOI marker.
        rows, columns: What the header of the file says.

    Raises:
        ScanError: `damaged`: the segments do not follow each other; `frames`: another size, or colours; `lossy`:
            another process of JPEG.
    """
    at, framed = 2, False
    while True:
        while stream[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        code, size = stream[at + 1 : at + 2], int.from_bytes(stream[at + 2 : at + 4], "big")
        body = stream[at + 4 : at + 2 + size]
        if stream[at : at + 1] != b"\xff" or size < 2 or len(body) != size - 2:
            raise _damaged()
        marker = code[0]
        if marker == _SOS and framed:
            return
        if marker == _SOF3 and not framed:
            _check_frame(body, rows, columns)
            framed = True
        elif marker in _OTHER_FRAMES:
            raise ScanError(
                "lossy", "the pixels are not compressed by the lossless process of JPEG, as the file says",
                hint="Export the original, or with lossless compression.",
            )  # fmt: skip
        elif marker not in _HARMLESS or (marker == _APP0 and body[:5] == b"JFIF\0" and body[5:6] != b"\1"):
            raise _damaged()
        at += 2 + size


def _check_frame(body: bytes, rows: int, columns: int) -> None:
    """Checks a frame header: precision, rows, columns, and one component of three bytes."""
    if len(body) != 9:
        raise _damaged() if body[5:6] in (b"", b"\1") else ScanError("frames", "compressed frames in colour")
    found = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if found != (rows, columns) or body[5] != 1:
        raise ScanError("frames", f"a compressed frame of {found[0]} x {found[1]}; the header says {rows} x {columns}")


def _damaged() -> ScanError:
    return ScanError("damaged", "a compressed frame is damaged in front of its pixels", hint="Copy the file again.")
