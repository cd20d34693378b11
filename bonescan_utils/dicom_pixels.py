"""Compressed pixels of a DICOM file: looked over frame by frame, then decoded by the one library that may."""

from __future__ import annotations

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.pixels import get_decoder

from bonescan_utils.jpeg_lossless import check_stream
from bonescan_utils.scan import ScanError

_JPEG_STARTS = (b"\xff\xd8", b"\xff\x4f")  # JPEG and JPEG-LS, JPEG 2000
_DECODERS = {
    "JPEG Lossless": (uid.JPEGLosslessSV1, "python-gdcm"),
    "JPEG-LS": (uid.JPEGLSLossless, "pyjpegls"),
    "JPEG 2000": (uid.JPEG2000Lossless, "pillow"),
    "RLE": (uid.RLELossless, "pydicom"),
}
_PLUGINS = {
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pillow",
    uid.JPEG2000: "pillow",
    uid.RLELossless: "pydicom",
}
"""Who decodes what: pydicom would go on to GDCM, which ends the whole process on a damaged JPEG 2000 stream."""


def decoders() -> dict[str, tuple[bool, str]]:
    """Returns for each compression whether it can be read, and the package that reads it."""
    return {name: (get_decoder(code).is_available, package) for name, (code, package) in _DECODERS.items()}


def check_frames(ds: Dataset, syntax: uid.UID, n_frames: int) -> None:
    """Checks that compressed pixels hold as many whole frames as the header says."""
    if not get_decoder(syntax).is_available:
        package = next((p for known, p in _DECODERS.values() if known == syntax), "python-gdcm")
        raise ScanError("decoder_missing", f"no decoder for {syntax.name}", hint=f"pip install {package}")
    fragments = list(generate_fragments(ds.PixelData))[1:]  # the first is the offset table
    rle = syntax == uid.RLELossless
    begun = len(fragments) if rle else sum(f.startswith(_JPEG_STARTS) for f in fragments)
    if begun != n_frames:
        code = "truncated" if begun < n_frames else "frames"
        raise ScanError(code, f"{begun} compressed frames; the header says {n_frames}")
    frames = list(generate_frames(ds.PixelData, number_of_frames=n_frames))
    if not rle and not all(b"\xff\xd9" in frame[-4:] for frame in frames):  # with padding
        raise ScanError("truncated", "a compressed frame has no end", hint="Copy the file again.")
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        for frame in frames:
            check_stream(frame, rows=int(ds.Rows), columns=int(ds.Columns))


def decoded(ds: Dataset, syntax: uid.UID, n_frames: int) -> np.ndarray:
    """Returns the pixels as (frames, rows, columns), as stored."""
    try:
        if syntax in _PLUGINS:
            ds.pixel_array_options(decoding_plugin=_PLUGINS[syntax])
        pixels = ds.pixel_array
    except MemoryError:
        raise
    except Exception as error:
        raise ScanError(
            "damaged", f"the pixels ({syntax.name}) cannot be decoded", hint="Export or copy it again."
        ) from error
    shape = (n_frames, int(ds.Rows), int(ds.Columns))
    if pixels.size != shape[0] * shape[1] * shape[2]:
        raise ScanError("frames", f"decoded to shape {pixels.shape}; the header says {shape}")
    return pixels.reshape(shape)
