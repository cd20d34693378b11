"""PNG, TIFF and NPY: whole grey numbers, as they are, or a reason."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import make_counts
from PIL import Image

from bonescan_utils.images import read_counts, read_images
from bonescan_utils.scan import ScanError


def code_of(path: Path) -> str:
    with pytest.raises(ScanError) as caught:
        read_counts(path, warnings=[])
    assert len(str(caught.value)) <= 500 and str(path.name) in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pictures_keep_their_values(tmp_path: Path, suffix: str, dtype: type) -> None:
    counts = make_counts(1).astype(dtype)
    if dtype == np.uint16:
        counts[64, 16] = 51_234
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(counts).save(path)
    reading = read_images(path, None)
    view = reading.views["anterior"]
    np.testing.assert_array_equal(view.counts, counts)
    assert (view.view_source, view.pixel_mm, list(reading.views), reading.warnings) == (
        "manifest", None, ["anterior"], (),
    )  # fmt: skip


def test_arrays_and_the_kind_is_told_by_content(tmp_path: Path) -> None:
    counts = make_counts(1)
    np.save(tmp_path / "x.npy", counts)
    (tmp_path / "x.npy").rename(tmp_path / "x.png")
    Image.fromarray(counts).save(tmp_path / "y.png")
    views = read_images(tmp_path / "x.png", tmp_path / "y.png").views
    np.testing.assert_array_equal(views["anterior"].counts, counts)
    np.testing.assert_array_equal(views["posterior"].counts, counts)


def test_no_file_at_all() -> None:
    with pytest.raises(ScanError) as caught:
        read_images(None, None)
    assert caught.value.code == "no_view"


def test_colour_is_refused_unless_all_channels_are_equal(tmp_path: Path) -> None:
    grey = make_counts(1).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "equal.png")
    Image.fromarray(np.stack([grey, grey, grey, np.full_like(grey, 255)], -1)).save(tmp_path / "alpha.png")
    for name in ("equal.png", "alpha.png"):
        warnings: list[str] = []
        np.testing.assert_array_equal(read_counts(tmp_path / name, warnings=warnings), grey)
        assert "all channels equal" in warnings[0]
    rgb = np.stack([grey] * 3, -1)
    rgb[100:104, 8:12] = (255, 0, 0)  # an arrow that somebody drew
    Image.fromarray(rgb).save(tmp_path / "arrow.png")
    assert code_of(tmp_path / "arrow.png") == "not_grey"
    Image.fromarray(np.stack([grey, grey, grey, grey], -1)).save(tmp_path / "shade.png")
    assert code_of(tmp_path / "shade.png") == "not_grey"
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    assert code_of(tmp_path / "palette.png") == "not_grey"
    Image.fromarray(grey > 9).save(tmp_path / "bits.png")
    assert code_of(tmp_path / "bits.png") == "not_grey"


def test_fractions_signed_and_wrong_shapes_are_refused(tmp_path: Path) -> None:
    counts = make_counts(1)
    Image.fromarray(counts.astype(np.float32)).save(tmp_path / "f.tif")
    assert code_of(tmp_path / "f.tif") == "not_counts"
    np.save(tmp_path / "f.npy", counts / 2)
    assert code_of(tmp_path / "f.npy") == "not_counts"
    np.save(tmp_path / "n.npy", counts.astype(np.int32) - 5)
    with pytest.raises(ScanError) as caught:
        read_images(tmp_path / "n.npy", None)
    assert caught.value.code == "negative"
    np.save(tmp_path / "3.npy", np.stack([counts] * 2))
    assert code_of(tmp_path / "3.npy") == "matrix"
    Image.fromarray(counts[:32]).save(tmp_path / "square.png")
    assert code_of(tmp_path / "square.png") == "matrix"


def test_pages_and_white_as_zero_are_refused(tmp_path: Path) -> None:
    picture = Image.fromarray(make_counts(1).astype(np.uint8))
    picture.save(tmp_path / "two.tif", save_all=True, append_images=[picture])
    assert code_of(tmp_path / "two.tif") == "pages"
    picture.save(tmp_path / "white.tif", tiffinfo={262: 0})
    assert code_of(tmp_path / "white.tif") == "inverted"


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "PICKLE_RAN",))

    np.save(tmp_path / "o.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    assert code_of(tmp_path / "o.npy") == "pickle"
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Trap()))
    assert code_of(tmp_path / "p.npy") == "not_image"
    assert not (tmp_path / "PICKLE_RAN").exists()


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG that claims a size and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    for name, size in (("a.png", (5000, 20_000)), ("b.png", (60_000, 60_000))):
        (tmp_path / name).write_bytes(png_header(*size))
        assert code_of(tmp_path / name) == "too_large"
    np.lib.format.write_array_header_1_0(
        header := io.BytesIO(), {"descr": "<u2", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    (tmp_path / "c.npy").write_bytes(header.getvalue())
    assert code_of(tmp_path / "c.npy") in ("truncated", "too_large")


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_a_cut_file_is_never_used(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        np.save(path, make_counts(1))
    else:
        Image.fromarray(make_counts(1)).save(path)
    data = path.read_bytes()
    for share in (0.02, 0.1, 0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        assert code_of(path) in ("truncated", "damaged")


def test_other_files_say_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(make_counts(1).astype(np.uint8)).save(tmp_path / "x.jpg")
    assert code_of(tmp_path / "x.jpg") == "lossy"
    (tmp_path / "x.png").write_text("<!doctype html><title>Sign in</title>")
    with pytest.raises(ScanError, match="an HTML or XML page; expected PNG, TIFF or NPY"):
        read_counts(tmp_path / "x.png", warnings=[])
    (tmp_path / "empty.png").write_bytes(b"")
    assert code_of(tmp_path / "empty.png") == "empty"
    assert code_of(tmp_path / "absent.png") == "absent"
    assert code_of(tmp_path) == "not_file"
    assert capsys.readouterr().out == ""
