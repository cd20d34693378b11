"""PNG, TIFF and NPY images -> views.

An image file says nothing of its view or its pixel size: the caller names the view. Only grey images of
whole numbers are read; nothing is scaled, inverted, or cut to fewer bits.
"""

from __future__ import annotations

import re
import warnings as python_warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bonescan_utils.gate import file_kind
from bonescan_utils.scan import MAX_PIXELS, VIEWS, Reading, ScanError, View, check_matrix
from bonescan_utils.screen import quiet_stderr

KINDS = ("png", "tiff", "npy")
_FORMATS = ("PNG", "TIFF")
_GREY = frozenset({"L", "I;16", "I;16L", "I;16B", "I"})
_COLOUR = frozenset({"LA", "RGB", "RGBA"})
_STORED = _COLOUR | {"L", "L;R", "I;12", "I;16", "I;16N", "I;16B", "I;16L", "I;16R", "I;16S", "I;16BS", "I;16NS"} | {
    "I;32N", "I;32S", "I;32BS", "I;32NS",
}  # fmt: skip
"""What Pillow hands on as stored, by its names; it stretches 2 and 4 bits to 8, and cuts 16 bits of colour to 8."""
_LOSSY = frozenset({"jpeg", "tiff_jpeg", "webp"})


def read_images(anterior: str | Path | None, posterior: str | Path | None) -> Reading:
    """Reads a scan from one image file per view.

    Args:
        anterior: PNG or TIFF with 8, 16 or 32 bits of grey, or NPY with a (rows, columns) array of whole
            numbers; as seen from the front. None if there is no such view.
        posterior: The same, as a gamma camera shows it (patient left = image left).

    Returns:
        The views, without pixel size, `view_source` `manifest`; and warnings.

    Raises:
        ScanError: A file cannot be used; besides the codes of `gate.check_file`: `not_image`, `lossy`,
            `damaged`, `truncated`, `too_large`, `matrix`, `not_grey`, `pages`, `pickle`, `not_counts`,
            `negative`.
    """
    views: dict[str, View] = {}
    warnings: list[str] = []
    for name, path in zip(VIEWS, (anterior, posterior), strict=True):
        if path is not None:
            views[name] = View(name, read_counts(path, warnings=warnings), None, "manifest")
    if not views:
        raise ScanError("no_view", "neither an anterior nor a posterior image is given")
    return Reading(views, tuple(warnings))


def read_counts(path: str | Path, *, warnings: list[str]) -> np.ndarray:
    """Returns the pixels of one image file as (rows, columns) whole numbers; may add to `warnings`."""
    path = Path(path)
    kind, words = file_kind(path)
    if kind == "jpeg":
        raise ScanError("lossy", "a JPEG image has lost detail", path=path, hint="Export PNG, TIFF or DICOM instead.")
    if kind not in KINDS:
        raise ScanError("not_image", f"{words}; expected PNG, TIFF or NPY", path=path)
    with refusing(path):
        array = _read_npy(path) if kind == "npy" else _read_picture(path, warnings)
        check_matrix(*array.shape)
        if array.dtype.kind not in "ui":
            raise ScanError(
                "not_counts", f"pixel values of type {array.dtype}; expected whole numbers",
                hint="Save the counts as integers.",
            )  # fmt: skip
        return array


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns what a broken image sets off into a ScanError that names the file."""
    try:
        with python_warnings.catch_warnings(), quiet_stderr():  # libtiff and its kin write to the error stream
            python_warnings.simplefilter("ignore")
            yield
    except ScanError as error:
        raise error.at(path) from None
    except Image.DecompressionBombError as error:
        found = re.search(r"[0-9]+", str(error))  # Pillow refuses before it tells the size in any other way
        claim = f"{int(found[0]):,}" if found else "too many"
        reason = f"the image claims {claim} pixels; at most {MAX_PIXELS:,} are read"
        raise ScanError("too_large", reason, path=path) from None
    except MemoryError:
        raise ScanError("too_large", "the image takes more memory than one file may", path=path) from None
    except UnidentifiedImageError:
        raise ScanError("damaged", "the header of the image is damaged", path=path) from None
    except (OSError, SyntaxError, EOFError) as error:
        if getattr(error, "errno", None):
            raise ScanError("unreadable", "the image cannot be read", path=path, hint="Copy it again.") from None
        reason = f"the image cannot be read to its end ({path.stat().st_size:,} bytes)"
        raise ScanError("truncated", reason, path=path, hint="Copy it again.") from None
    except Exception as error:
        reason = f"the image is damaged ({type(error).__name__})"
        raise ScanError("damaged", reason, path=path, hint="Copy it again.") from None


def _read_picture(path: Path, warnings: list[str]) -> np.ndarray:
    """Returns the grey values of a PNG or TIFF; the size is checked before any pixel is decoded."""
    with Image.open(path, formats=_FORMATS) as image:
        columns, rows = image.size
        if rows * columns > MAX_PIXELS:
            raise ScanError("too_large", f"{rows} x {columns} pixels; at most {MAX_PIXELS:,} are read")
        pages = getattr(image, "n_frames", 1)
        if pages != 1:
            raise ScanError("pages", f"{pages} pages; expected one view", hint="Save one view per file.")
        if image.mode not in _GREY | _COLOUR:
            code = "not_counts" if image.mode.startswith("F") else "not_grey"
            raise ScanError(code, f"an image of mode {image.mode}; expected grey with 8 or 16 bits")
        _check_white(image)
        _check_stored(image)
        array = np.asarray(image)
        return array if image.mode in _GREY else _grey_of_colour(array, path, warnings)


def _check_stored(image: Image.Image) -> None:
    """Refuses pixels that would not be read as they are stored: other bits, a sign that is lost, lossy compression."""
    stored = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in getattr(image, "tile", ())}
    signed = image.mode == "L" and 2 in getattr(image, "tag_v2", {}).get(339, ())  # TIFF tag SampleFormat
    if signed or not stored <= _STORED:
        raise ScanError(
            "not_counts", "pixels of other than 8, 12, 16 or 32 bits of grey or 8 bits of colour, or of 8 with a sign",
            hint="Export grey with 16 bits.",
        )  # fmt: skip
    if image.info.get("compression") in _LOSSY:
        raise ScanError("lossy", "a TIFF compressed as JPEG has lost detail", hint="Export it without loss.")


def _check_white(image: Image.Image) -> None:
    """Refuses a TIFF that stores white as 0: readers differ in what they make of it."""
    photometric = getattr(image, "tag_v2", {}).get(262)  # TIFF tag PhotometricInterpretation
    if photometric == 0:
        raise ScanError("inverted", "a TIFF with white as 0; expected black as 0", hint="Export it again.")


def _grey_of_colour(array: np.ndarray, path: Path, warnings: list[str]) -> np.ndarray:
    """Returns one channel of a colour image whose channels are all equal and opaque."""
    colours = array[..., :1] if array.shape[-1] == 2 else array[..., :3]
    opaque = array.shape[-1] == 3 or bool((array[..., -1] == 255).all())
    if not opaque or not bool((colours == colours[..., :1]).all()):
        raise ScanError(
            "not_grey", "a colour image: a screenshot or a coloured display",
            hint="Export the grey image without annotations.",
        )  # fmt: skip
    warnings.append(f"{path.name}: stored in colour, all channels equal; one is used")
    return np.ascontiguousarray(colours[..., 0])


def _read_npy(path: Path) -> np.ndarray:
    """Returns the array of an NPY file, its header checked against the file before memory is asked for; no pickles."""
    try:
        shape, dtype, start = _npy_header(path)
    except ValueError:
        raise ScanError("damaged", "the header of the array is damaged", hint="Copy it again.") from None
    if dtype.hasobject:
        raise ScanError("pickle", "a NumPy file of Python objects; expected numbers")
    if len(shape) != 2:
        raise ScanError("matrix", f"an array of shape {shape}; expected (rows, columns)")
    check_matrix(*shape)
    found, wanted = path.stat().st_size, start + shape[0] * shape[1] * dtype.itemsize
    if found != wanted:
        code = "truncated" if found < wanted else "damaged"
        raise ScanError(code, f"{found:,} bytes; its header says {wanted:,}", hint="Copy it again.")
    return np.load(path, allow_pickle=False)


def _npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Returns shape, type and first byte of the data of an NPY file.

    Raises:
        ValueError: The header is none, or of a version that is for arrays with named fields.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in readers:
            raise ValueError(version)
        shape, _, dtype = readers[version](stream)
        return shape, dtype, stream.tell()
