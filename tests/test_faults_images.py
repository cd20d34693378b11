"""Each fault of an image file: what becomes of its scan, and which words say why. One cohort holds them all."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import make_counts, sha256
from PIL import Image
from test_images import png_header
from test_layouts import bs80k, grey
from test_manifest import make_rows, save

from bonescan_utils import cli
from bonescan_utils.cohort import ingest
from bonescan_utils.files import read_csv, read_text_csv
from bonescan_utils.ingest.layouts import ingest_layout
from bonescan_utils.manifest import read_manifest

Row = dict[str, str]
Write = Callable[[Path, int], object]


def picture(change: Callable[[np.ndarray], np.ndarray] = lambda x: x, kind: str = "PNG", **options: object) -> Write:
    """Returns what writes the counts of a view as a picture, after a change."""
    return lambda path, seed: Image.fromarray(change(make_counts(seed))).save(path, kind, **options)


GOOD = picture()


def array(change: Callable[[np.ndarray], np.ndarray]) -> Write:
    """Returns what writes the counts of a view as a NumPy array, after a change."""
    return lambda path, seed: np.save(path.open("wb"), change(make_counts(seed)), allow_pickle=True)


def content(data: bytes) -> Write:
    return lambda path, seed: path.write_bytes(data)


def cut(write: Write) -> Write:
    """Returns what writes a file without its second half."""

    def halve(path: Path, seed: int) -> None:
        write(path, seed)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return halve


def longer(path: Path, seed: int) -> None:
    np.save(path.open("wb"), make_counts(seed))
    path.write_bytes(path.read_bytes() + b"\0\0")


def zipped(path: Path, seed: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def claim(path: Path, seed: int) -> None:
    """Writes an array whose header claims 10**12 elements."""
    with path.open("wb") as stream:
        header = {"descr": "<u2", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(stream, header)


def damaged(path: Path, seed: int) -> None:
    picture()(path, seed)
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF  # the height, against its checksum
    path.write_bytes(data)


def pages(path: Path, seed: int) -> None:
    page = Image.fromarray(make_counts(seed))
    page.save(path, "TIFF", save_all=True, append_images=[page])


def arrow(counts: np.ndarray) -> np.ndarray:
    colours = np.stack([counts.astype(np.uint8)] * 3, -1)
    colours[100:104, 8:12] = (255, 0, 0)
    return colours


def swamped(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > np.percentile(counts, 90), 65535, counts).astype(np.uint16)


def half(counts: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(counts))[:, None] < len(counts) // 2, counts, 0).astype(np.uint16)


def byte(counts: np.ndarray) -> np.ndarray:
    return counts.clip(0, 255).astype(np.uint8)


FAULTS: dict[str, tuple[Write, str, str]] = {
    "absent": (lambda path, seed: None, "absent", "no such file"),
    "folder": (lambda path, seed: path.mkdir(), "not_file", "a folder or device; expected a regular file"),
    "pipe": (lambda path, seed: os.mkfifo(path), "not_file", "expected a regular file"),
    "link in a ring": (lambda path, seed: path.symlink_to(path), "unreadable", "symbolic links"),
    "link to outside": (lambda path, seed: path.symlink_to("/dev/zero"), "outside", "outside the folder"),
    "zero bytes": (lambda path, seed: path.touch(), "empty", "zero bytes"),
    "text": (content(b"hello"), "not_dicom", "text, not a DICOM file"),
    "pointer": (content(b"version https://git-lfs.github.com/spec/v1\n"), "not_dicom", "Git LFS pointer"),
    "web page": (content(b"<!doctype html><title>Sign in</title>"), "not_dicom", "an HTML or XML page"),
    "archive": (zipped, "not_dicom", "a ZIP archive"),
    "JPEG": (picture(byte, "JPEG"), "lossy", "a JPEG image has lost detail"),
    "JPEG in TIFF": (picture(byte, "TIFF", compression="jpeg"), "lossy", "compressed as JPEG"),
    "PNG cut": (cut(picture()), "truncated", "cannot be read to its end ("),
    "TIFF cut": (cut(picture(kind="TIFF")), "truncated", "bytes)"),
    "NPY cut": (cut(array(lambda x: x)), "truncated", "bytes; its header says 8,320"),
    "NPY too long": (longer, "damaged", "8,322 bytes; its header says 8,320"),
    "PNG header damaged": (damaged, "damaged", "header of the image is damaged"),
    "two pages": (pages, "pages", "2 pages; expected one view"),
    "bomb": (content(png_header(60_000, 60_000)), "too_large", "3,600,000,000 pixels; at most 16,777,216"),
    "large": (content(png_header(20_000, 5_000)), "too_large", "5000 x 20000 pixels; at most 16,777,216"),
    "NPY of 2 TB": (claim, "too_large", "1000000 x 1000000 pixels; at most 16,777,216"),
    "pickle": (array(lambda x: np.array([[{}]], dtype=object)), "pickle", "Python objects; expected numbers"),
    "pickle by name": (content(pickle.dumps({})), "not_dicom", "unknown content"),
    "square": (picture(lambda x: x[:32]), "matrix", "32 rows x 32 columns; a whole-body view is 1.5 or more"),
    "three axes": (array(lambda x: np.stack([x, x])), "matrix", "shape (2, 128, 32); expected (rows, columns)"),
    "colour": (picture(arrow), "not_grey", "a colour image"),
    "black and white": (picture(lambda x: x > 9), "not_grey", "mode 1; expected grey with 8 or 16 bits"),
    "fractions": (array(lambda x: x / 2), "not_counts", "type float64; expected whole numbers"),
    "float TIFF": (picture(lambda x: x.astype("f4"), "TIFF"), "not_counts", "mode F; expected grey"),
    "below zero": (array(lambda x: x.astype("i4") - 5), "negative", "below zero (lowest -5)"),
    "white is zero": (picture(byte, "TIFF", tiffinfo={262: 0}), "inverted", "white as 0; expected black as 0"),
    "dark on white": (picture(lambda x: 250 - byte(x)), "inverted", "dark on white"),
    "all zero": (picture(lambda x: x * 0), "all_zero", "every pixel is 0"),
    "constant": (picture(lambda x: x * 0 + 7), "constant", "every pixel is 7"),
    "saturated": (picture(swamped), "saturated", "of the pixels at 65535; limit 2.0%"),
    "half empty": (picture(half), "half_empty", "the lower half holds 0.00% of the counts; limit 1 %"),
}  # fmt: skip
"""Fault of the anterior image -> what writes the file, the code of its scan, words of the reason."""


def write_row(root: Path, name: str, seed: int, write: Write = GOOD, **cells: str) -> Row:
    """Writes two images of a scan, the posterior one good, and returns its row."""
    (row,) = make_rows(1)
    row |= {"scan_id": name, "patient_id": name, "anterior": f"{seed}.ant", "posterior": f"{seed}.post"}
    write(root / row["anterior"], seed)
    GOOD(root / row["posterior"], 1000 + seed)
    return row | cells


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Row]]:
    """Returns the manifest of all faults and some good scans, and the rows of its quarantine by scan."""
    root = tmp_path_factory.mktemp("images")
    rows = [write_row(root, name, seed, write) for seed, (name, (write, _, _)) in enumerate(FAULTS.items(), start=1)]
    rows += [write_row(root, f"good {seed}", seed) for seed in (901, 902, 903)]
    rows.append(write_row(root, "equal channels", 904, picture(lambda x: np.stack([byte(x)] * 3, -1))))
    rows.append(write_row(root, "changed", 905, sha256_anterior=sha256(b"as it was")))
    rows.append(write_row(root, "one view twice", 906))
    shutil.copy(root / "906.ant", root / "906.post")
    for seed, patient in ((907, "good 901"), (908, "good 901"), (909, "A"), (910, "B")):
        source = 901 if seed < 909 else 909
        rows.append(write_row(root, f"copy {seed}", seed, patient_id=patient))
        for view in ("ant", "post"):
            shutil.copy(root / f"{source}.{view}", root / f"{seed}.{view}") if seed != source else None
    manifest = save(root / "m.csv", rows)
    df = read_manifest(manifest)
    result = ingest(df, root, n_jobs=1, progress=False)
    assert len(result.used) + len(result.quarantined) == len(df) == len(FAULTS) + 10
    assert list(result.used["scan_id"]) == ["good 901", "good 902", "good 903", "equal channels"]
    assert result.flow["n"].iloc[0] == len(df) and result.flow["n"].iloc[-1] == 4
    assert result.flow["excluded"].sum() == len(result.quarantined)
    assert "all channels equal" in result.used["warnings"].iloc[3]
    aside = result.quarantined.astype(str).set_index("scan_id").to_dict("index")
    return manifest, {str(name): row for name, row in aside.items()}  # type: ignore[misc]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_an_image_has_its_code_and_words(cohort: tuple[Path, dict[str, Row]], name: str) -> None:
    _, code, words = FAULTS[name]
    row, number = cohort[1][name], list(FAULTS).index(name) + 1
    assert (row["code"], row["line"], row["file"]) == (code, str(number + 1), f"{number}.ant")
    assert words in row["reason"] and row["next_step"] and len(row["reason"]) < 500 and row["reason"].isprintable()


def test_copies_changes_and_pixels_of_another_patient(cohort: tuple[Path, dict[str, Row]]) -> None:
    aside = cohort[1]
    found = {name: row["code"] for name, row in aside.items() if name not in FAULTS}
    assert found == {
        "changed": "checksum", "one view twice": "same_views", "copy 907": "copy", "copy 908": "copy",
        "copy 909": "shared_pixels", "copy 910": "shared_pixels",
    }  # fmt: skip
    for name in ("copy 907", "copy 908"):
        assert aside[name]["reason"] == "the same pixels as scan good 901, which is used."
    assert "scan copy 910, of another patient" in aside["copy 909"]["reason"]
    digest = sha256((cohort[0].parent / "905.ant").read_bytes())[:12]
    assert digest in aside["changed"]["reason"] and sha256(b"as it was")[:12] in aside["changed"]["reason"]


def test_check_tells_every_image_in_a_line(
    cohort: tuple[Path, dict[str, Row]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, aside = cohort
    assert cli.main(["check", str(manifest), "--problems", str(tmp_path / "all.csv")]) == 2
    assert f"{len(aside)} problems" in capsys.readouterr().err
    assert set(read_text_csv(tmp_path / "all.csv")["scan_id"]) == set(aside)


# ------------------------------------------------------------------------------------------- JPEG, as BS-80K has it
def jpeg(change: Callable[[np.ndarray], np.ndarray]) -> Write:
    return lambda path, seed: Image.fromarray(change(grey(seed, "anterior"))).save(path, "JPEG", quality=95)


JPEG_FAULTS: dict[str, tuple[Write, str, str]] = {
    "zero bytes": (lambda path, seed: path.write_bytes(b""), "empty", "zero bytes"),
    "web page": (content(b"<html>404</html>"), "not_image", "an HTML or XML page; expected PNG"),
    "cut": (cut(jpeg(lambda x: x)), "truncated", "cannot be read to its end"),
    "colour": (jpeg(lambda x: np.stack([x, x // 2, x], -1)), "not_grey", "a colour image"),
    "large": (jpeg(lambda x: np.zeros((4200, 4200), "u1")), "too_large", "4200 x 4200 pixels; at most"),
    "all zero": (jpeg(lambda x: x * 0), "all_zero", "every pixel is 0"),
    "square": (jpeg(lambda x: x[:32]), "matrix", "32 rows x 32 columns"),
}
"""Fault of the anterior JPEG of a scan -> what writes it, code, words."""


@pytest.mark.parametrize("name", JPEG_FAULTS)
def test_a_fault_of_a_public_jpeg_sets_its_scan_aside_and_the_others_are_used(tmp_path: Path, name: str) -> None:
    write, code, words = JPEG_FAULTS[name]
    root, out = bs80k(tmp_path / "bs80k"), tmp_path / "out"
    write(root / "temp/wholeBodyANT/3.jpg", 3)
    outcome = ingest_layout(root, out / "m.csv", layout="bs80k", n_jobs=1, progress=False)
    assert set(read_manifest(out / "m.csv")["scan_id"]) == {f"BS80K-{number}" for number in (1, 2, 4, 828)}
    aside = read_text_csv(out / "m_quarantine.csv").query("scan_id == 'BS80K-3'")
    assert list(aside["file"]) == ["temp/wholeBodyANT/3.jpg", "temp/wholeBodyPOST/3.jpg"]
    assert set(aside["code"]) == {code} and aside["reason"].str.contains(words, regex=False).all()
    flow = read_csv(out / "m_flow.csv")
    assert flow["n"].iloc[0] == sum(outcome.ends.values()) == sum(path.is_file() for path in root.rglob("*"))
