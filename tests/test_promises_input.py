"""Promises about input (SECURITY.md): what is read, what is refused, and how it is said."""

from __future__ import annotations

import ast
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_counts
from fuzz import seed_files
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from test_images import png_header
from test_ingest import nested
from test_manifest import make_rows, save
from vendor_files import SCT, SRT, add_detectors, add_windows, body, compress, header
from vendor_files import save as save_dicom

import bonescan_utils
from bonescan_utils import cli
from bonescan_utils.boxes import voc_boxes
from bonescan_utils.dicom import read_dicom
from bonescan_utils.files import read_csv, read_text_csv, write_csv
from bonescan_utils.gate import read_small
from bonescan_utils.images import read_counts
from bonescan_utils.labelling.lexicon import LexiconError, load_lexicon
from bonescan_utils.loading import load_file, load_scan
from bonescan_utils.manifest import COLUMNS, ManifestError, read_manifest, write_manifest
from bonescan_utils.scan import ScanError

FRONT, BACK = body(1), body(1, side="posterior")
Change = Callable[[Dataset], object]


def scan_file(path: Path, change: Change = lambda ds: None, *, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Writes a good scan, the posterior frame first, after a change of its data set."""
    frames = np.stack([BACK, FRONT])
    ds = header(frames, patient="A", study="1")
    add_windows(ds, (126.0, 154.0), vector=[1, 1])
    add_detectors(ds, SCT, [1, 2])
    compress(ds, frames, syntax)
    change(ds)
    return save_dicom(path, ds, syntax=syntax)


def put(name: str, value: object) -> Change:
    return lambda ds: setattr(ds, name, value)


def code_of(path: Path) -> str:
    """Returns `read`, or the code of the refusal, of a file by its content."""
    try:
        load_file(path)
    except ScanError as error:
        assert "\n" not in str(error) and len(str(error)) <= 500
        return error.code
    return "read"


# ------------------------------------------------------------------------------------------- P2, P3: what is said
def _pixels(array: np.ndarray) -> Change:
    return lambda ds: setattr(ds, "PixelData", np.stack([array, array]).astype("<u2").tobytes())


def _add_page(path: Path) -> None:
    picture = Image.fromarray(make_counts(1))
    picture.save(path, "TIFF", save_all=True, append_images=[picture])


def _iodine(ds: Dataset) -> None:
    add_windows(ds, (328.0, 400.0), vector=[1, 1])


def _negative(ds: Dataset) -> None:
    ds.PixelRepresentation, ds.PixelData = 1, (np.stack([BACK, FRONT]).astype("<i2") - 2000).tobytes()


def _lone(ds: Dataset) -> None:
    ds.NumberOfFrames, ds.PixelData = 1, FRONT.tobytes()
    ds.EnergyWindowVector, ds.DetectorVector = 1, 1


STATIC = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]
KIND = ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]
BAD_FILES: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "not_file": lambda path: os.mkfifo(path),
    "unreadable": lambda path: path.symlink_to(path),
    "empty": lambda path: path.touch(),
    "not_dicom": lambda path: path.write_text("hello"),
    "too_large": lambda path: path.write_bytes(png_header(60_000, 60_000)),
    "truncated": lambda path: path.write_bytes(scan_file(path).read_bytes()[:-3000]),
    "damaged": lambda path: path.write_bytes(bytes(128) + b"DICM" + b"x" * 99),
    "modality": lambda path: scan_file(path, put("Modality", "CT")),
    "not_whole_body": lambda path: scan_file(path, put("ImageType", KIND)),
    "matrix": lambda path: np.save(path.open("wb"), make_counts(1)[:32]),
    "not_grey": lambda path: scan_file(path, put("SamplesPerPixel", 3)),
    "inverted": lambda path: scan_file(path, put("PhotometricInterpretation", "MONOCHROME1")),
    "rescaled": lambda path: scan_file(path, put("RescaleSlope", "0.5")),
    "lossy": lambda path: scan_file(path, put("LossyImageCompression", "01")),
    "burned_in": lambda path: scan_file(path, put("BurnedInAnnotation", "YES")),
    "spacing": lambda path: scan_file(path, put("PixelSpacing", ["226", "226"])),
    "frames": lambda path: scan_file(path, put("Rows", 64)),
    "energy_window": lambda path: scan_file(path, _iodine),
    "views_unclear": lambda path: scan_file(path, lambda ds: add_detectors(ds, SCT, [1, 1])),
    "negative": lambda path: scan_file(path, _negative),
    "not_counts": lambda path: np.save(path.open("wb"), make_counts(1) / 2),
    "pickle": lambda path: np.save(path.open("wb"), np.array([[{}]], dtype=object), allow_pickle=True),
    "pages": _add_page,
    "all_zero": lambda path: scan_file(path, _pixels(FRONT * 0)),
    "constant": lambda path: scan_file(path, _pixels(FRONT * 0 + 7)),
    "saturated": lambda path: scan_file(path, _pixels(np.where(FRONT > 600, 4095, FRONT))),
    "half_empty": lambda path: scan_file(path, _pixels(np.where(np.arange(128)[:, None] < 64, 0, FRONT))),
    "one_view": lambda path: scan_file(path, _lone),
}
"""Code -> what makes a file that ends with it in a cohort; the manifest names it in both columns."""

ELSEWHERE = set(
    "outside checksum view_conflict no_view same_views not_image no_patient no_study identity view_unknown too_slow"
    " decoder_missing view_missing pixel_size not_shown no_body".split()
)
"""Codes with a test of their own: in the manifest, in ingest, in preprocessing and viewing, or of a missing package."""


def test_p02_every_reason_is_one_line_that_names_place_and_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(len(BAD_FILES))
    for row, (code, make) in zip(rows, BAD_FILES.items(), strict=True):
        row |= {"scan_id": code, "anterior": f"{code}.f", "posterior": f"{code}.f"}
        make(tmp_path / row["anterior"])
    assert cli.main(["check", str(save(tmp_path / "m.csv", rows))]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert cli.main(["check", str(tmp_path / "m.csv"), "--problems", str(tmp_path / "all.csv")]) == 2
    assert "Traceback" not in capsys.readouterr().out
    table = read_text_csv(tmp_path / "all.csv").set_index("scan_id")
    assert set(table.index) == set(BAD_FILES)
    for line, code in enumerate(BAD_FILES, start=2):
        told = table.loc[code]
        assert (told["file"], told["line"], told["column"]) == (str(tmp_path / "m.csv"), str(line), "anterior")
        assert told["expected"] and 0 < len(told["problem"]) <= 500 and told["problem"].isprintable(), code
    shown = [line for line in said.out.splitlines() if ", line " in line]
    assert len(shown) == 20 and "and 9 more" in said.out  # the rest is in the table that was asked for


def test_p02_no_reason_is_without_a_test() -> None:
    found = set()
    for path in Path(bonescan_utils.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ScanError":
                found |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    assert found <= set(BAD_FILES) | ELSEWHERE, "give the new code a file in BAD_FILES"


def test_p03_seven_faults_are_seven_lines_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make_rows(8)
    for row, (name, value) in zip(
        rows,
        [("metastasis", "maybe"), ("age", "999"), ("sex", "male"), ("anterior", "/etc/passwd"), ("scan_id", "a/b"),
         ("anterior", ""), ("sha256_anterior", "abc")],
        strict=False,
    ):  # fmt: skip
        row[name] = value
    assert cli.main(["check", str(save(tmp_path / "m.csv", rows))]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r"line (\d+)", line)[1] for line in lines] == list("2345678")


@pytest.mark.slow  # a minute: a table of a million rows
def test_p03_a_million_bad_rows_are_counted_and_twenty_are_shown(tmp_path: Path) -> None:
    with (tmp_path / "m.csv").open("w") as stream:
        stream.write(",".join(COLUMNS) + "\n")
        for at in range(10**6):
            stream.write(f"s{at},P{at},{at}.dcm,,maybe,,,,,,,,,\n")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from bonescan_utils.cli import main; sys.exit(main(['check', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2 and "1000000 problems" in done.stderr
    assert len(done.stdout.splitlines()) == 21 and "999,980 more" in done.stdout


# ------------------------------------------------------------------------------------------- P4, P5: hostile and cut
@pytest.mark.slow
def test_p04_hostile_files_stay_within_time_and_memory_and_the_rest_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    good = scan_file(root / "ok").read_bytes()
    nested(root / "nested", 1000)
    at = good.index(b"\x10\x00\x10\x00")  # Patient's Name
    (root / "claim").write_bytes(good[: at + 4] + b"UN\0\0" + struct.pack("<I", 0xFFFFFFFE) + good[at + 8 :])
    packed = scan_file(root / "bomb", syntax=uid.DeflatedExplicitVRLittleEndian).read_bytes()
    start = 132 + 12 + int.from_bytes(packed[140:144], "little")
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    (root / "bomb").write_bytes(packed[:start] + bomb)
    (root / "other_length").write_bytes(packed[:140] + b"\0\0\0\0" + packed[144:start] + bomb)  # the meta's length lies
    os.mkfifo(root / "pipe")
    (root / "ring").symlink_to("ring")
    (root / "up").symlink_to(tmp_path)
    code = (
        "import resource, sys, json; from bonescan_utils.bounds import address_space\n"
        "from bonescan_utils.ingest import ingest_folder\n"
        "limit = address_space() + (2 << 30); resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "told = ingest_folder(sys.argv[1], sys.argv[2] + '/out/m.csv', key_file=sys.argv[2] + '/k/k', progress=False)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(json.dumps([told.ends, told.ignored, int(peak), used.ru_utime + used.ru_stime]))"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    # the peak is not that of getrusage, which goes on from the memory of the process that started this one
    ends, ignored, kilobytes, seconds = json.loads(done.stdout.splitlines()[-1])
    assert ends == {"used": 1, "quarantined": 5, "ignored": 2} and ignored == {"link": 2}
    assert kilobytes < 2 << 20 and seconds < 30


@pytest.mark.parametrize("name", [name for name in seed_files() if name.endswith(".dcm")])
def test_p05_a_file_cut_anywhere_is_never_used(tmp_path: Path, name: str) -> None:
    data = seed_files()[name]
    path = tmp_path / name
    for cut in sorted({*range(0, len(data), 100), *range(len(data) - 9, len(data))}):
        path.write_bytes(data[:cut])
        assert code_of(path) in ("empty", "not_dicom", "damaged", "truncated"), cut


def test_p05_pixels_that_are_more_or_less_than_the_header_says_are_not_read(tmp_path: Path) -> None:
    for more in (-2, 2, FRONT.nbytes):
        path = scan_file(tmp_path / "x", lambda ds, more=more: put("PixelData", bytes(2 * FRONT.nbytes + more))(ds))
        assert code_of(path) in ("truncated", "frames")
    for more in (b"", b"\0\0"):
        np.save(tmp_path / "x.npy", FRONT)
        (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes() + more)
        assert code_of(tmp_path / "x.npy") == ("damaged" if more else "read")


# ------------------------------------------------------------------------------------------- P6, P7: views, kinds
@pytest.mark.parametrize("codes", [SCT, SCT[::-1], SRT, SRT[::-1]])
@pytest.mark.parametrize("vector", [[1, 2], [2, 1]])
def test_p06_views_come_from_code_and_vector_and_never_from_order(
    tmp_path: Path, codes: list[tuple[str, str, str]], vector: list[int]
) -> None:
    of_frame = [codes[detector - 1][2].split()[0].lower() for detector in vector]  # frame 0 is BACK, frame 1 FRONT
    views = read_dicom(scan_file(tmp_path / "x", lambda ds: add_detectors(ds, codes, vector))).views
    assert {name: view.total for name, view in views.items()} == {
        of_frame[0]: int(BACK.sum()),
        of_frame[1]: int(FRONT.sum()),
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: add_detectors(ds, [SCT[1]] * 2, [1, 2]),
        lambda ds: ds.DetectorInformationSequence[0].__delitem__("ViewCodeSequence"),
        lambda ds: ds.__delitem__("DetectorInformationSequence"),
        lambda ds: put("DetectorVector", [1, 3])(ds),
    ],
    ids=["two anterior", "a code missing", "no detectors", "a detector that is not there"],
)
def test_p06_doubtful_views_are_refused(tmp_path: Path, change: Change) -> None:
    assert code_of(scan_file(tmp_path / "x", change)) == "views_unclear"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *((put("Modality", kind), "modality") for kind in ("CT", "US", "PT", "OT", "SR", "")),
        *(
            (put("ImageType", ["ORIGINAL", "PRIMARY", kind, "EMISSION"]), "not_whole_body")
            for kind in ("TOMO", "RECON TOMO", "DYNAMIC", "GATED", "", "WHOLE")
        ),
        (put("ImageType", ["ORIGINAL", "PRIMARY", "WHOLE BODY", "TRANSMISSION"]), "not_whole_body"),
        (lambda ds: (put("Rows", 64)(ds), put("Columns", 64)(ds)), "matrix"),
        (
            lambda ds: (put("Rows", 64)(ds), put("Columns", 64)(ds), put("ImageType", STATIC)(ds)),
            "not_whole_body",
        ),
        (_iodine, "energy_window"),
    ],
)
def test_p07_only_whole_body_emission(tmp_path: Path, change: Change, code: str) -> None:
    assert code_of(scan_file(tmp_path / "x")) == "read"
    assert code_of(scan_file(tmp_path / "x", change)) == code


# ------------------------------------------------------------------------------------------- P8: counts stay counts
@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless,
        uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)  # fmt: skip
def test_p08_the_sum_that_is_read_is_the_sum_that_was_written(tmp_path: Path, syntax: str) -> None:
    views = read_dicom(scan_file(tmp_path / "x", syntax=syntax)).views
    assert (views["anterior"].total, views["posterior"].total) == (int(FRONT.sum()), int(BACK.sum()))
    np.testing.assert_array_equal(views["anterior"].counts, FRONT)


def deep_png(path: Path, bits: int, kind: int, samples: int) -> None:
    """Writes a PNG with so many bits a sample, of an IHDR colour type, all samples of a pixel alike."""
    if bits == 16:
        rows = np.repeat(FRONT.astype(">u2")[..., None], samples, -1)
        if kind in (4, 6):
            rows[..., -1] = 65_535
        lines = [b"\0" + row.tobytes() for row in rows]
    else:
        lines = [b"\0" + bytes(FRONT.shape[1] * bits // 8)] * FRONT.shape[0]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", FRONT.shape[1], FRONT.shape[0], bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_p08_pixels_that_a_library_would_cut_stretch_or_wrap_are_refused(tmp_path: Path) -> None:
    deep_png(tmp_path / "grey.png", 16, 0, 1)
    np.testing.assert_array_equal(read_counts(tmp_path / "grey.png", warnings=[]), FRONT)
    for bits, kind, samples in ((16, 2, 3), (16, 4, 2), (16, 6, 4), (2, 0, 1), (4, 0, 1)):
        deep_png(tmp_path / "x.png", bits, kind, samples)
        assert code_of(tmp_path / "x.png") == "not_counts", (bits, kind)
    grey = (FRONT // 8).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "x.tif", compression="jpeg")
    assert code_of(tmp_path / "x.tif") == "lossy"
    Image.fromarray(grey).save(tmp_path / "y.tif", tiffinfo={339: 2})  # SampleFormat: signed
    assert code_of(tmp_path / "y.tif") == "not_counts"


def test_p08_a_lossy_stream_in_a_file_that_says_lossless_is_refused(tmp_path: Path) -> None:
    def swap(ds: Dataset) -> None:
        ds.PixelData = ds.PixelData.replace(b"\xff\xc3", b"\xff\xc1")  # SOF3 lossless -> SOF1 extended sequential

    assert code_of(scan_file(tmp_path / "x", swap, syntax=uid.JPEGLosslessSV1)) == "lossy"


# ------------------------------------------------------------------------------------------- P10, P11: ids, labels
IDS = ["0007", "1e5", "NA", "null", "None", "1.0", "-3", "=1", "true", "５"]


def test_p10_ids_are_text_through_every_reader_and_writer(tmp_path: Path) -> None:
    rows = make_rows(len(IDS))
    for row, name in zip(rows, IDS, strict=True):
        row |= {"scan_id": name, "patient_id": name}
    df = read_manifest(save(tmp_path / "m.csv", rows))
    write_manifest(tmp_path / "n.csv", df)
    write_csv(tmp_path / "o.csv", read_manifest(tmp_path / "n.csv"))
    for table in (
        df,
        read_manifest(tmp_path / "n.csv"),
        read_csv(tmp_path / "o.csv"),
        read_text_csv(tmp_path / "o.csv"),
    ):
        assert table["scan_id"].tolist() == table["patient_id"].tolist() == IDS


@pytest.mark.parametrize("label", "maybe,,nan,2,-1,１,non-metastatic,1.0, 1,True,yes,positive".split(","))
def test_p11_an_unknown_label_is_never_the_negative_class(tmp_path: Path, label: str) -> None:
    rows = make_rows(2)
    rows[1]["metastasis"] = label
    with pytest.raises(ManifestError, match=r"line 3, .*metastasis"):
        read_manifest(save(tmp_path / "m.csv", rows))
    if label == "":  # only where no label is asked for, and then it is missing and not 0
        assert read_manifest(tmp_path / "m.csv", labelled=False)["metastasis"].isna().tolist() == [False, True]


# ------------------------------------------------------------------------------------------- P12, P17: paths, formats
def test_p12_a_file_outside_the_folder_is_never_opened(tmp_path: Path) -> None:
    scan_file(tmp_path / "secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    for given in ("link", "folder/secret", "../secret", str(tmp_path / "secret"), "folder/../secret", "/dev/zero"):
        with pytest.raises(ScanError) as caught:
            load_scan({"scan_id": "s", "anterior": given, "posterior": ""}, root)
        assert caught.value.code == "outside", given


def test_p12_checking_a_manifest_connects_nowhere_and_writes_nothing(tmp_path: Path) -> None:
    rows = make_rows(3)
    for row, given in zip(rows, ("ok.f", "http:/host/x.f", "ok2.f"), strict=True):
        row |= {"anterior": given, "posterior": given}
    scan_file(tmp_path / "ok.f")
    rows[1] |= {"anterior": "", "posterior": "gone.f"}
    save(tmp_path / "m.csv", rows)
    code = (
        "import os, sys\nfrom bonescan_utils import cli, cohort\nimport bonescan_utils.dicom\nseen = []\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): seen.append(event)\n"
        "    if event == 'open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):\n"
        "        seen.append(str(args[0]))\n"
        "sys.addaudithook(hook)\ncode = cli.main(['check', sys.argv[1]])\n"
        "print('SEEN', code, [name for name in seen if name != os.devnull and '__pycache__' not in name])"
    )
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "m.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SEEN 2 []" in done.stdout, done.stdout + done.stderr


def test_p17_only_three_formats_and_no_pickle(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (tmp_path / "PICKLE_RAN",)

    picture = Image.fromarray((FRONT // 8).astype(np.uint8))
    for suffix in ("GIF", "BMP", "PPM", "JPEG2000", "WEBP", "EPS", "PDF", "ICO"):
        with (tmp_path / "x").open("wb") as stream:
            (picture.convert("RGB") if suffix == "WEBP" else picture).save(stream, suffix)
        with pytest.raises(ScanError):
            load_file(tmp_path / "x")
    np.save((tmp_path / "o.npy").open("wb"), np.array([[Trap()]], dtype=object), allow_pickle=True)
    pd.to_pickle(Trap(), tmp_path / "p.npy")
    assert (code_of(tmp_path / "o.npy"), code_of(tmp_path / "p.npy")) == ("pickle", "not_dicom")
    assert not (tmp_path / "PICKLE_RAN").exists()


def test_p17_the_header_of_an_array_is_believed_only_if_the_file_holds_as_much(tmp_path: Path) -> None:
    data = bytearray(seed_files()["counts.npy"])
    at = data.index(b"(48, 16)")
    for shape in (b"(10**12)", b"(9999999", b"(48, 17)", b"(-4, 16)"):
        (tmp_path / "x.npy").write_bytes(data[:at] + shape + data[at + 8 :])
        assert code_of(tmp_path / "x.npy") in ("truncated", "damaged", "matrix")


# ------------------------------------------------------------------------------------------- one reader of each kind
OPENERS = {
    "dcmread": {"dicom.py": "input, behind the gate", "pacs/source.py": "input that `read_dicom` has read before",
                "pacs/store.py": "objects that this package wrote"},
    "Image.open": {"images.py": "input", "ingest/layouts.py": "input, one format", "style.py": "drawn in memory",
                   "reporting/page.py": "drawn in memory, or a figure of the run"},
    "np.load": {"images.py": "input", "image_store.py": "hashed before", "feature_store.py": "hashed before",
                "backup.py": "hashed before", "phantom/cohort.py": "truth of phantoms",
                "phantom/skeleton.py": "an asset", "phantom/template.py": "a cache of phantoms",
                "weights.py": "an asset, hashed before"},
    "load_model": {"models.py": "hashed before"},
    "ElementTree.fromstring": {"boxes.py": "input, bounded, without document type"},
    "zipfile.ZipFile": {"model_record.py": "checked, not unpacked", "phantom/cohort.py": "truth of phantoms",
                        "reporting/word.py": "made in memory"},
    "yaml.load": {"labelling/lexicon.py": "input, plain"}, "yaml.safe_load": {"reporting/checklists.py": "an asset"},
    "sqlite3.connect": {"ingest/journal.py": "its own"},
}  # fmt: skip
"""What opens a file of a kind -> the modules that may, and what they open with it."""


def test_p17_a_file_of_a_kind_is_opened_by_its_reader_only() -> None:
    package, found = Path(bonescan_utils.__file__).parent, set()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                opener = next((each for each in OPENERS if f".{call}".endswith(f".{each}")), "")
                opener = "" if opener == "load_model" and not call.startswith(("keras", "tf")) else opener
                assert not opener or name in OPENERS[opener], f"{name}:{node.lineno}: {call}"
                found |= {(opener, name)} if opener else set()
    assert {(opener, name) for opener, names in OPENERS.items() for name in names} == found, "declared, no longer there"


def test_p04_a_pipe_or_a_huge_file_among_boxes_lists_and_lexicons_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "zeros.xml").write_bytes(b"")
    os.truncate(tmp_path / "zeros.xml", 400 << 30)  # a hole: it takes no room
    for name in ("pipe.xml", "zeros.xml"):
        with pytest.raises(ValueError, match=r"Pascal VOC file of at most 1,048,576 bytes; .*(device|are read)"):
            voc_boxes(tmp_path / name)
        with pytest.raises(LexiconError, match="expected a YAML lexicon of at most"):
            load_lexicon("en", extra=[tmp_path / name])
    (tmp_path / "larger").write_bytes(bytes(101))
    with pytest.raises(ScanError, match="too_large"):
        read_small(tmp_path / "larger", most=100)
    assert read_small(tmp_path / "larger", most=101) == bytes(101)


def test_p04_nothing_walks_through_a_whole_header() -> None:
    """Of a data set with nested sequences these build texts that grow 7-fold a level: gigabytes from 330 bytes."""
    forbidden = {"iterall", "walk", "to_json", "to_json_dict", "formatted_lines"}
    for path in Path(bonescan_utils.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in forbidden:
                assert ast.unparse(node.func) == "os.walk", f"{path.name}:{node.lineno}"
