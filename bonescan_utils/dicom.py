"""DICOM NM whole-body files <-> views.

All use of pydicom is here, in `dicom_frames`, `dicom_pixels` and `dicom_write`, for what else a header tells in
`ingest.header`, and for results in `pacs`.

A file passes these checks in this order: regular file, size, magic number, file meta, bounded inflation, an
allow-list of tags, the header, the number of pixel bytes, decoding. A header is never printed: it has names.
"""

from __future__ import annotations

import os
import warnings as python_warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.tag import Tag

from bonescan_utils.dicom_frames import pick_frames
from bonescan_utils.dicom_pixels import check_frames, decoded, decoders
from bonescan_utils.dicom_terms import shown_term
from bonescan_utils.dicom_write import write_dicom
from bonescan_utils.gate import file_kind
from bonescan_utils.scan import Reading, ScanError, View, check_matrix
from bonescan_utils.screen import quiet_stderr

__all__ = ["decoders", "read_dicom", "write_dicom"]

MAX_INFLATED_BYTES = 128 << 20
MAX_FRAMES = 16
SPACING_MM = (0.5, 12.0)

_TAGS = tuple(
    """
    ImageType Modality SOPClassUID SeriesDescription ImageID ViewPosition CountsAccumulated NumberOfFrames
    SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit
    PixelRepresentation PixelSpacing LossyImageCompression RescaleSlope RescaleIntercept
    BurnedInAnnotation EnergyWindowVector NumberOfEnergyWindows EnergyWindowInformationSequence
    DetectorVector NumberOfDetectors DetectorInformationSequence PixelData FloatPixelData DoubleFloatPixelData
    """.split()
)

_LOSSY = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})


def read_dicom(path: str | Path) -> Reading:
    """Reads a DICOM NM whole-body bone scan of one or two views.

    The views come from the view codes through the detector vector. A single frame without a view code is
    named by its series text, else taken as anterior with a warning and `view_source` `frame_order`.

    Args:
        path: The file.

    Returns:
        The views (counts as stored, pixel size in mm) and warnings.

    Raises:
        ScanError: The file cannot be used; the code says why: `absent`, `not_file`, `unreadable`, `empty`,
            `not_dicom`, `too_large`, `truncated`, `damaged`, `modality`, `not_whole_body`, `matrix`,
            `not_grey`, `inverted`, `rescaled`, `lossy`, `burned_in`, `spacing`, `frames`,
            `decoder_missing`, `energy_window`, `views_unclear`, `negative`, `not_counts`.
    """
    return read_with_header(path, ())[0]


def read_with_header(path: str | Path, tags: Sequence[str | int]) -> tuple[Reading, Dataset]:
    """Reads a file as `read_dicom`, and more of its header in the same pass.

    Args:
        path: The file.
        tags: Keywords or numbers of the attributes to read besides those that the views need.

    Returns:
        The reading, and the data set with the attributes of both lists and nothing else.

    Raises:
        ScanError: See `read_dicom`.
    """
    path = Path(path)
    with refusing(path):
        ds, syntax = _header(path, tags)
        spacing, notes = _check_header(ds, syntax)
        n_frames = _check_pixels(ds, syntax)
        frames, more = pick_frames(ds, n_frames)
        pixels = decoded(ds, syntax, n_frames)
        notes += more + _check_total(ds, pixels)
        views = {f.view: View(f.view, pixels[f.index], spacing, f.view_source) for f in frames}
        return Reading(views, tuple(notes)), ds


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns whatever a hostile or broken file sets off into a ScanError that names the file."""
    try:
        with python_warnings.catch_warnings(), quiet_stderr():  # decoders write to the error stream
            python_warnings.simplefilter("ignore")  # pydicom's warnings quote header values
            yield
    except ScanError as error:
        raise error.at(path) from None
    except (EOFError, zlib.error) as error:
        raise ScanError("truncated", "the file ends early", path=path, hint="Copy it again.") from error
    except InvalidDicomError as error:
        raise ScanError("not_dicom", "not a DICOM file", path=path) from error
    except OSError as error:
        reason = error.strerror or "the content cannot be read"
        code = "unreadable" if error.errno else "damaged"
        raise ScanError(code, reason, path=path) from error
    except MemoryError as error:
        raise ScanError("too_large", "it asks for more memory than there is", path=path) from error
    except Exception as error:  # the reason is a type only: the text may quote the header
        reason = f"the DICOM content is damaged ({type(error).__name__})"
        raise ScanError("damaged", reason, path=path, hint="Export or copy it again.") from None


def _header(path: Path, tags: Sequence[str | int]) -> tuple[Dataset, uid.UID]:
    """Returns the allowed part of the data set and the transfer syntax."""
    kind, words = file_kind(path)
    if kind != "dicom":
        raise ScanError("not_dicom", f"{words}, not a DICOM file", hint="Check the path.")
    meta = pydicom.filereader.read_file_meta_info(path)
    syntax = meta.get("TransferSyntaxUID")
    if syntax is None:
        raise ScanError("damaged", "the file meta names no transfer syntax", hint="Export it again.")
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        _check_inflation(path)
    if syntax.is_encapsulated and _ends_in_delimiter(path):
        raise ScanError("truncated", "the last bytes of the pixel data are missing", hint="Copy it again.")
    return pydicom.dcmread(path, specific_tags=[Tag(tag) for tag in (*_TAGS, *tags)]), syntax


def _ends_in_delimiter(path: Path) -> bool:
    """Tells whether a file stops inside the 8 bytes that close compressed pixels; pydicom lets it pass."""
    with path.open("rb") as stream:
        stream.seek(-min(8, path.stat().st_size), os.SEEK_END)
        tail = stream.read()
    return tail.rfind(b"\xfe\xff\xdd\xe0") > 0  # at 0 it is whole


def _check_inflation(path: Path) -> None:
    """Inflates a deflated data set up to a limit: pydicom itself has none.

    It begins where pydicom ends to read the file meta, and not where the meta says that it ends: that may lie.
    """
    with path.open("rb") as stream:
        read_preamble(stream, force=False)
        _read_file_meta_info(stream)
        packed = stream.read()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(packed, MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ScanError("too_large", f"inflates to more than {MAX_INFLATED_BYTES:,} bytes")
    if not inflater.eof:
        raise ScanError("truncated", "the deflated data ends early", hint="Copy it again.")


def _check_header(ds: Dataset, syntax: uid.UID) -> tuple[tuple[float, float] | None, list[str]]:
    """Checks that this is an untouched whole-body emission image; returns pixel size and warnings."""
    _check_present(ds)
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    _check_kind([str(v).strip().upper() for v in ds.get("ImageType") or []], rows, columns)
    check_matrix(rows, columns)
    _expect(ds.get("SamplesPerPixel", 1), 1, code="not_grey", what="SamplesPerPixel")
    _expect(ds.get("PhotometricInterpretation"), "MONOCHROME2", code="inverted", what="PhotometricInterpretation")
    slope, intercept = ds.get("RescaleSlope", 1), ds.get("RescaleIntercept", 0)
    if float(1 if slope in (None, "") else slope) != 1 or float(intercept or 0) != 0:
        raise ScanError("rescaled", "RescaleSlope or RescaleIntercept is set; counts need none")
    if str(ds.get("LossyImageCompression", "")).strip() == "01" or syntax in _LOSSY:
        raise ScanError(
            "lossy", "the image was compressed with loss; its pixels are no counts",
            hint="Export the original, or with lossless compression.",
        )  # fmt: skip
    if str(ds.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise ScanError("burned_in", "the file says that text is burned into the image")
    notes = []
    if syntax in (uid.JPEG2000, uid.JPEGLSNearLossless):
        notes.append("a compression that may lose detail; the file says that it did not")
    spacing = _spacing(ds.get("PixelSpacing"))
    if spacing is None:
        notes.append("no pixel size stated")
    return spacing, notes


def _check_present(ds: Dataset) -> None:
    """Checks that this is a nuclear medicine image and that it is there."""
    if ds.get("Modality") not in (None, "") or ds.get("PixelData"):
        _expect(ds.get("Modality"), "NM", code="modality", what="Modality")
    if "FloatPixelData" in ds or "DoubleFloatPixelData" in ds:
        raise ScanError("not_counts", "the pixels are fractions; expected whole counts")
    if not ds.get("PixelData"):
        raise ScanError("truncated", "no pixel data: cut short, or exported without its image", hint="Export it again.")


def _expect(found: Any, expected: Any, *, code: str, what: str) -> None:
    if found != expected:
        raise ScanError(code, f"{what} is {shown_term(found)}; expected {expected}")


def _check_kind(kind: list[str], rows: int, columns: int) -> None:
    """Checks Image Type: WHOLE BODY, or STATIC of a whole-body shape, and EMISSION."""
    third = kind[2] if len(kind) > 2 else ""
    static = third == "STATIC" and rows >= 2 * columns
    if third not in ("WHOLE BODY", "WHOLEBODY") and not static:
        raise ScanError(
            "not_whole_body",
            f"Image Type value 3 is {shown_term(third)} ({rows} x {columns}); expected WHOLE BODY",
            hint="Give the whole-body planar image.",
        )
    if len(kind) > 3 and kind[3] not in ("EMISSION", ""):
        raise ScanError("not_whole_body", f"Image Type value 4 is {shown_term(kind[3])}; expected EMISSION")


def _spacing(value: Any) -> tuple[float, float] | None:
    """Returns (row, column) size in mm, or None if the header does not say."""
    if value is None or value == "" or len(value) == 0:
        return None
    sizes = tuple(float(v) for v in value)
    if len(sizes) != 2 or not all(SPACING_MM[0] <= size <= SPACING_MM[1] for size in sizes):
        raise ScanError("spacing", f"Pixel Spacing is {sizes}; expected two sizes of 0.5 to 12 mm")
    return sizes[0], sizes[1]


def _check_pixels(ds: Dataset, syntax: uid.UID) -> int:
    """Counts the frames and their bytes before anything is decoded; returns the number of frames."""
    n_frames = int(1 if ds.get("NumberOfFrames") in (None, "") else ds.NumberOfFrames)
    if not 1 <= n_frames <= MAX_FRAMES:
        raise ScanError("frames", f"NumberOfFrames is {n_frames}; expected 1 to {MAX_FRAMES}")
    allocated = int(ds.get("BitsAllocated") or 0)
    if allocated not in (8, 16, 32):
        raise ScanError("not_counts", f"BitsAllocated is {allocated}; expected 8, 16 or 32")
    data = ds.PixelData
    if syntax.is_encapsulated:
        check_frames(ds, syntax, n_frames)
        return n_frames
    wanted = n_frames * int(ds.Rows) * int(ds.Columns) * allocated // 8
    if len(data) != wanted + wanted % 2:
        code = "truncated" if len(data) < wanted else "frames"
        raise ScanError(code, f"{len(data):,} pixel bytes; {n_frames} frames need {wanted:,}")
    return n_frames


def _check_total(ds: Dataset, pixels: np.ndarray) -> list[str]:
    """Compares Counts Accumulated with the sum of all frames; a camera that fills it, fills it exactly."""
    stated = ds.get("CountsAccumulated")
    total = int(pixels.sum(dtype=np.int64))
    if stated in (None, "") or int(stated) in (0, total):
        return []
    return [f"Counts Accumulated says {int(stated):,}; the pixels hold {total:,}"]
