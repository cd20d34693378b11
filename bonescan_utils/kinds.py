"""Kinds: what a file is by its first bytes, never by its suffix."""

from __future__ import annotations

BEGINNING = 512
"""Bytes that `kind_of` looks at."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png", "a PNG image"),
    (b"II*\x00", "tiff", "a TIFF image"),
    (b"MM\x00*", "tiff", "a TIFF image"),
    (b"\x93NUMPY", "npy", "a NumPy array"),
    (b"\xff\xd8\xff", "jpeg", "a JPEG image"),
    (b"PK\x03\x04", "zip", "a ZIP archive (an Excel workbook is one as well)"),
    (b"\xd0\xcf\x11\xe0", "ole", "an old Office document, such as an xls workbook"),
    (b"\x1f\x8b", "gzip", "a gzip archive"),
    (b"%PDF", "pdf", "a PDF"),
    (b"version https://git-lfs", "lfs", "a Git LFS pointer (the file itself was not fetched)"),
    (b"\xff\xfe", "utf16", "UTF-16 text, Excel's 'Unicode text'"),
    (b"\xfe\xff", "utf16", "UTF-16 text, Excel's 'Unicode text'"),
)


def kind_of(start: bytes) -> tuple[str, str]:
    """Returns what a file holds, as a short word (`dicom`, `png`, `html`, `text`, `unknown`, ...) and in words.

    Args:
        start: Its first `BEGINNING` bytes, or all of a shorter one.
    """
    if start[128:132] == b"DICM":
        return "dicom", "a DICOM file"
    for magic, kind, words in _MAGIC:
        if start.startswith(magic):
            return kind, words
    if start.lstrip()[:1] == b"<":
        return "html", "an HTML or XML page"
    text = all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)
    return ("text", "text") if text else ("unknown", "unknown content")
