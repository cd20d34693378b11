"""DICOM: what a camera writes is read with its counts and its views; what is doubtful is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import make_counts, make_scan, sha256
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from bonescan_utils.dicom import decoders, read_dicom, write_dicom
from bonescan_utils.dicom_frames import view_in_text
from bonescan_utils.scan import Scan, ScanError, View

PATIENT = {"patient_id": "P1", "sex": "F", "age": 61.5, "study_seed": "test"}


def write(path: Path, scan: Scan) -> str:
    return write_dicom(path, scan, patient_id="P1", sex="F", age=61.5, study_seed="test")


def altered(path: Path, scan: Scan, change: Callable[[Dataset], object], *, raw: bool = True) -> Path:
    """Writes a scan, changes its data set with plain pydicom (uncompressed first, if `raw`), saves it."""
    write(path, scan)
    ds = pydicom.dcmread(path)
    if raw:
        ds.decompress()
    change(ds)
    ds.save_as(path)
    return path


def refused(path: Path) -> ScanError:
    with pytest.raises(ScanError) as caught:
        read_dicom(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 500 and path.name in text and "PHANTOM" not in text
    return caught.value


def set_pixels(ds: Dataset, frames: np.ndarray) -> None:
    ds.PixelData = frames.astype("<u2").tobytes()
    ds.NumberOfFrames = len(frames)


# ------------------------------------------------------------------------------------------- writing
def test_what_is_written_is_read_back(tmp_path: Path, small_scan: Scan) -> None:
    write(tmp_path / "x.dcm", small_scan)
    reading = read_dicom(tmp_path / "x.dcm")
    assert list(reading.views) == ["anterior", "posterior"] and reading.warnings == ()
    for view in small_scan.views:
        back = reading.views[view.name]
        np.testing.assert_array_equal(back.counts, view.counts)
        assert (back.pixel_mm, back.view_source) == ((2.26, 2.26), "view_code")


def test_all_values_of_16_bits_survive(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 65_536, (128, 32)).astype(np.uint16)
    counts[0, :2] = 0, 65_535
    write(tmp_path / "x.dcm", Scan("s", View("anterior", counts, None, "file"), None))
    np.testing.assert_array_equal(read_dicom(tmp_path / "x.dcm").views["anterior"].counts, counts)


@pytest.mark.parametrize("name", ["anterior", "posterior"])
def test_a_scan_of_one_view_is_a_file_of_one_frame(tmp_path: Path, small_scan: Scan, name: str) -> None:
    view = getattr(small_scan, name)
    write(tmp_path / "x.dcm", Scan("s", **{"anterior": None, "posterior": None} | {name: view}))
    reading = read_dicom(tmp_path / "x.dcm")
    assert list(reading.views) == [name] and reading.views[name].view_source == "view_code"
    np.testing.assert_array_equal(reading.views[name].counts, view.counts)


def test_the_file_is_a_full_nm_whole_body_image(tmp_path: Path, small_scan: Scan) -> None:
    write(tmp_path / "x.dcm", small_scan)
    ds = pydicom.dcmread(tmp_path / "x.dcm")
    assert ds.SOPClassUID == uid.NuclearMedicineImageStorage == ds.file_meta.MediaStorageSOPClassUID
    assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
    assert ds.file_meta.TransferSyntaxUID == uid.JPEGLSLossless
    assert list(ds.ImageType) == ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    assert list(ds.FrameIncrementPointer) == [0x00540010, 0x00540020]
    assert (list(ds.EnergyWindowVector), list(ds.DetectorVector)) == ([1, 1], [1, 2])
    window = ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
    assert (window.EnergyWindowLowerLimit, window.EnergyWindowUpperLimit) == (126, 154)
    codes = [item.ViewCodeSequence[0].CodeValue for item in ds.DetectorInformationSequence]
    assert codes == ["399321004", "399001007"]
    assert ds.CountsAccumulated == sum(view.total for view in small_scan.views)
    assert (str(ds.PatientName), ds.PatientAge, ds.PatientSex) == ("PHANTOM^P1", "061Y", "F")
    assert "not a patient" in ds.ImageComments and ds.Manufacturer == "BONESCAN PHANTOM"
    assert ds.ScanVelocity * ds.ActualFrameDuration / 1000 == pytest.approx(128 * 2.26)
    stack = np.stack([view.counts for view in small_scan.views])
    np.testing.assert_array_equal(ds.pixel_array, stack)  # another reader sees the same


def test_bytes_depend_on_the_arguments_only(tmp_path: Path, small_scan: Scan) -> None:
    digest = write(tmp_path / "x.dcm", small_scan)
    assert digest == sha256((tmp_path / "x.dcm").read_bytes())
    code = (
        "import sys; sys.path.insert(0, 'tests'); from conftest import make_scan\n"
        "from bonescan_utils.dicom import write_dicom\n"
        "sc = make_scan()\n"
        "print(write_dicom(sys.argv[1], sc, patient_id='P1', sex='F', age=61.5, study_seed='test'))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "5", "TZ": "Asia/Seoul"}
    command = [sys.executable, "-c", code, str(tmp_path / "y.dcm")]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=root)
    assert done.stdout.strip() == digest
    other = write_dicom(tmp_path / "z.dcm", small_scan, patient_id="P1", sex="F", age=61.5, study_seed="other")
    assert other != digest


def test_uids_differ_between_scans_and_cohorts(tmp_path: Path) -> None:
    found = set()
    for scan_id, seed in (("a", "1"), ("b", "1"), ("a", "2")):
        write_dicom(tmp_path / "x.dcm", make_scan(scan_id), patient_id="P", sex="M", age=50, study_seed=seed)
        ds = pydicom.dcmread(tmp_path / "x.dcm", stop_before_pixels=True)
        found |= {ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.FrameOfReferenceUID}
    assert len(found) == 12 and all(uid.UID(text).is_valid for text in found)


@pytest.mark.parametrize("wrong", [{"patient_id": "a b"}, {"patient_id": ""}, {"sex": "m"}, {"age": 121}])
def test_wrong_demographics_are_refused(tmp_path: Path, small_scan: Scan, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        write_dicom(tmp_path / "x.dcm", small_scan, **{**PATIENT, **wrong})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_counts_that_16_bits_do_not_hold_are_refused(tmp_path: Path) -> None:
    big = make_counts(0).astype(np.int32)
    big[60, 16] = 70_000
    with pytest.raises(ScanError) as caught:
        write(tmp_path / "x.dcm", Scan("s", View("anterior", big, None, "file"), None))
    assert caught.value.code == "not_counts"


@pytest.mark.slow
def test_writing_a_full_scan_is_fast(tmp_path: Path) -> None:
    scan = make_scan(rows=1024, columns=256)
    best = 1.0
    for _ in range(10):
        start = time.process_time()
        write(tmp_path / "x.dcm", scan)
        best = min(best, time.process_time() - start)
    assert best < 0.05  # seconds of processor time; 0.014 on an idle machine


# ------------------------------------------------------------------------------------------- real files
def real(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert found, f"{name} is not in pydicom or pydicom-data"
    return Path(str(found))


def test_nema_nm1_is_read_as_one_anterior_view() -> None:
    reading = read_dicom(real("JPEG-LL.dcm"))
    (view,) = reading.views.values()
    assert (view.name, view.view_source, view.counts.shape) == ("anterior", "frame_order", (1024, 256))
    assert view.total == 3_596_452 and view.counts.dtype.kind == "u"
    assert view.pixel_mm == (2.26, 2.26)
    assert any("assumed to be anterior" in text for text in reading.warnings)


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "JPEG2000_UNC.dcm", "JPEG-lossy.dcm"])
def test_its_lossy_copies_with_rings_below_zero_are_refused(name: str) -> None:
    error = refused(real(name))
    assert error.code == "lossy" and "Export the original" in error.hint


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_ybr_color.dcm", "reportsi.dcm"]
)
def test_other_modalities_are_refused(name: str) -> None:
    assert refused(real(name)).code == "modality"


# ------------------------------------------------------------------------------------------- views
def test_the_view_comes_through_the_detector_vector(tmp_path: Path, small_scan: Scan) -> None:
    def swap_vector(ds: Dataset) -> None:
        set_pixels(ds, ds.pixel_array[::-1])
        ds.DetectorVector = [2, 1]

    def swap_items(ds: Dataset) -> None:
        set_pixels(ds, ds.pixel_array[::-1])
        ds.DetectorInformationSequence = Sequence(list(ds.DetectorInformationSequence)[::-1])

    for change in (swap_vector, swap_items):
        views = read_dicom(altered(tmp_path / "x.dcm", small_scan, change)).views
        for view in small_scan.views:
            np.testing.assert_array_equal(views[view.name].counts, view.counts)


def codes(ds: Dataset, *pairs: tuple[str, str]) -> None:
    for item, (value, meaning) in zip(ds.DetectorInformationSequence, pairs, strict=True):
        item.ViewCodeSequence[0].CodeValue = value
        item.ViewCodeSequence[0].CodeMeaning = meaning


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("G-5215", "anterior"), ("G-5216", "posterior")),
        (("255549009", ""), ("255551008", "")),
        (("1", "ANT"), ("2", "POST")),
        (("x", "WB_ANTERIOR"), ("y", "WB_POSTERIOR")),
    ],
)
def test_older_and_local_view_codes(
    tmp_path: Path, small_scan: Scan, first: tuple[str, str], second: tuple[str, str]
) -> None:
    views = read_dicom(altered(tmp_path / "x.dcm", small_scan, lambda ds: codes(ds, first, second))).views
    np.testing.assert_array_equal(views["posterior"].counts, small_scan.views[1].counts)


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: codes(ds, ("399321004", "Anterior"), ("399321004", "Anterior")),
        lambda ds: codes(ds, ("399321004", "Posterior"), ("399001007", "Anterior")),
        lambda ds: codes(ds, ("399074003", "Left anterior oblique"), ("399001007", "Posterior")),
        lambda ds: codes(ds, ("399348003", "antero-posterior"), ("399001007", "Posterior")),
        lambda ds: ds.DetectorInformationSequence[1].__delitem__("ViewCodeSequence"),
        lambda ds: ds.__delitem__("DetectorInformationSequence"),
    ],
    ids=["two anterior", "meaning differs", "oblique", "antero-posterior", "one without", "none"],
)
def test_doubtful_views_are_refused(tmp_path: Path, small_scan: Scan, change: Callable[[Dataset], None]) -> None:
    error = refused(altered(tmp_path / "x.dcm", small_scan, change))
    assert error.code == "views_unclear"


def test_frames_without_their_vector_and_a_vector_that_does_not_fit(tmp_path: Path, small_scan: Scan) -> None:
    for change in (
        lambda ds: ds.__delitem__("DetectorVector"),
        lambda ds: setattr(ds, "DetectorVector", [1, 2, 1]),
        lambda ds: setattr(ds, "EnergyWindowVector", 1),
    ):
        assert refused(altered(tmp_path / "x.dcm", small_scan, change)).code == "frames"


def test_three_frames_are_refused(tmp_path: Path, small_scan: Scan) -> None:
    def third(ds: Dataset) -> None:
        set_pixels(ds, np.concatenate([ds.pixel_array, ds.pixel_array[:1]]))
        ds.EnergyWindowVector, ds.DetectorVector = [1, 1, 1], [1, 2, 1]

    error = refused(altered(tmp_path / "x.dcm", small_scan, third))
    assert error.code == "views_unclear" and "3 frames" in error.reason


def add_window(ds: Dataset, low: float, high: float) -> None:
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = low, high
    item = Dataset()
    item.EnergyWindowRangeSequence = Sequence([limits])
    ds.EnergyWindowInformationSequence.append(item)


def test_the_scatter_window_is_left_out_wherever_it_stands(tmp_path: Path, small_scan: Scan) -> None:
    def scatter(ds: Dataset) -> None:
        frames = ds.pixel_array
        set_pixels(ds, np.concatenate([frames // 3, frames]))
        add_window(ds, 126, 154)
        limits = ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = 100, 120
        ds.EnergyWindowVector, ds.DetectorVector = [1, 1, 2, 2], [1, 2, 1, 2]
        ds.NumberOfEnergyWindows = 2
        ds.CountsAccumulated = int(frames.sum() + (frames // 3).sum())

    reading = read_dicom(altered(tmp_path / "x.dcm", small_scan, scatter))
    for view in small_scan.views:
        np.testing.assert_array_equal(reading.views[view.name].counts, view.counts)
    assert reading.warnings == ("2 frames of other energy windows are left out",)


def test_iodine_is_refused(tmp_path: Path, small_scan: Scan) -> None:
    def iodine(ds: Dataset) -> None:
        limits = ds.EnergyWindowInformationSequence[0].EnergyWindowRangeSequence[0]
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = 328, 400

    error = refused(altered(tmp_path / "x.dcm", small_scan, iodine))
    assert error.code == "energy_window" and "328-400 keV" in error.reason


@pytest.mark.parametrize(
    ("text", "view", "source"),
    [
        ("WB POST", "posterior", "text"),
        ("Bone ANT", "anterior", "text"),
        ("3H POST INJ", "anterior", "frame_order"),
        ("", "anterior", "frame_order"),
    ],
)
def test_a_lone_frame_without_a_code(tmp_path: Path, small_scan: Scan, text: str, view: str, source: str) -> None:
    def change(ds: Dataset) -> None:
        del ds.DetectorInformationSequence
        ds.SeriesDescription = text

    lone = Scan("s", small_scan.anterior, None)
    reading = read_dicom(altered(tmp_path / "x.dcm", lone, change))
    assert [(v.name, v.view_source) for v in reading.views.values()] == [(view, source)]
    assert len(reading.warnings) == 1 and "no view code" in reading.warnings[0]


def test_a_lone_frame_of_another_view_is_not_assumed_to_be_anterior(tmp_path: Path, small_scan: Scan) -> None:
    lone = Scan("s", small_scan.anterior, None)
    change = lambda ds: codes(ds, ("399074003", "Left anterior oblique"))  # noqa: E731
    assert refused(altered(tmp_path / "x.dcm", lone, change)).code == "views_unclear"


def test_view_in_text() -> None:
    assert view_in_text("wb_ant_1") == view_in_text("ANTERIOR") == "anterior"
    assert view_in_text("posterior") == view_in_text("Post.") == "posterior"
    for text in ("ant+post", "giant", "compost", "post-therapy", "LAO anterior", "antero-posterior", ""):
        assert view_in_text(text) is None


# ------------------------------------------------------------------------------------------- header
def make(name: str, value: object) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds, name, value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (make("Modality", "CT"), "modality"),
        (make("ImageType", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]), "not_whole_body"),
        (make("ImageType", ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]), "not_whole_body"),
        (make("ImageType", ["ORIGINAL", "PRIMARY", "WHOLE BODY", "TRANSMISSION"]), "not_whole_body"),
        (make("ImageType", ["ORIGINAL", "PRIMARY"]), "not_whole_body"),
        (make("PhotometricInterpretation", "MONOCHROME1"), "inverted"),
        (make("SamplesPerPixel", 3), "not_grey"),
        (make("RescaleSlope", "0.5"), "rescaled"),
        (make("RescaleIntercept", "-10"), "rescaled"),
        (make("LossyImageCompression", "01"), "lossy"),
        (make("BurnedInAnnotation", "YES"), "burned_in"),
        (make("PixelSpacing", [226, 226]), "spacing"),
        (make("NumberOfFrames", 3), "truncated"),
        (make("NumberOfFrames", 1), "frames"),
        (make("NumberOfFrames", 0), "frames"),
        (make("NumberOfFrames", 10**6), "frames"),
        (make("Rows", 64), "frames"),
        (make("BitsAllocated", 12), "not_counts"),
        (make("PixelData", b""), "truncated"),
        (lambda ds: ds.__delitem__("PixelData"), "truncated"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    tmp_path: Path, small_scan: Scan, change: Callable[[Dataset], None], code: str
) -> None:
    assert refused(altered(tmp_path / "x.dcm", small_scan, change)).code == code


def test_a_static_image_is_taken_by_its_shape(tmp_path: Path, small_scan: Scan) -> None:
    static = make("ImageType", ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"])
    assert len(read_dicom(altered(tmp_path / "x.dcm", small_scan, static)).views) == 2
    spot = View("anterior", make_counts(0, rows=128, columns=128), None, "file")
    error = refused(altered(tmp_path / "y.dcm", Scan("s", spot, None), static))
    assert error.code == "not_whole_body" and "STATIC (128 x 128)" in error.reason
    write(tmp_path / "z.dcm", Scan("s", spot, None))
    assert refused(tmp_path / "z.dcm").code == "matrix"


def test_signed_pixels_are_read_and_negative_ones_refused(tmp_path: Path, small_scan: Scan) -> None:
    signed = make("PixelRepresentation", 1)
    views = read_dicom(altered(tmp_path / "x.dcm", small_scan, signed)).views
    assert views["anterior"].total == small_scan.views[0].total

    def below(ds: Dataset) -> None:
        frames = ds.pixel_array.astype("<i2") - 1
        ds.PixelRepresentation, ds.PixelData = 1, frames.tobytes()

    error = refused(altered(tmp_path / "y.dcm", small_scan, below))
    assert error.code == "negative" and "lowest -1" in error.reason


def test_doubtful_headers_are_read_with_a_warning(tmp_path: Path, small_scan: Scan) -> None:
    def change(ds: Dataset) -> None:
        ds.CountsAccumulated = 5
        del ds.EnergyWindowInformationSequence, ds.PixelSpacing

    reading = read_dicom(altered(tmp_path / "x.dcm", small_scan, change))
    assert reading.views["anterior"].pixel_mm is None
    words = " | ".join(reading.warnings)
    assert all(word in words for word in ("Counts Accumulated says 5", "no pixel size", "no energy window"))


# ------------------------------------------------------------------------------------------- pixels
def encode_rle(ds: Dataset) -> None:
    ds.compress(uid.RLELossless)


def encode_jpeg2000(ds: Dataset) -> None:
    streams = []
    for frame in ds.pixel_array:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
        streams.append(buffer.getvalue())
    ds.PixelData = encapsulate(streams)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless


def deflate(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("encode", [lambda ds: None, encode_rle, encode_jpeg2000, deflate])
def test_counts_are_the_same_in_every_compression(
    tmp_path: Path, small_scan: Scan, encode: Callable[[Dataset], None]
) -> None:
    views = read_dicom(altered(tmp_path / "x.dcm", small_scan, encode)).views
    for view in small_scan.views:
        np.testing.assert_array_equal(views[view.name].counts, view.counts)


@pytest.mark.parametrize("bits", [8, 32])
def test_other_pixel_sizes(tmp_path: Path, small_scan: Scan, bits: int) -> None:
    def change(ds: Dataset) -> None:
        frames = np.minimum(ds.pixel_array, 255).astype(f"<u{bits // 8}")
        ds.BitsAllocated = ds.BitsStored = bits
        ds.HighBit = bits - 1
        ds.PixelData = frames.tobytes()

    views = read_dicom(altered(tmp_path / "x.dcm", small_scan, change)).views
    np.testing.assert_array_equal(views["anterior"].counts, np.minimum(small_scan.views[0].counts, 255))


def test_decoders_for_what_cameras_write_are_there() -> None:
    found = decoders()
    assert {"JPEG Lossless", "JPEG-LS", "JPEG 2000", "RLE"} <= set(found)
    assert all(available for available, _ in found.values())


def test_a_missing_decoder_names_the_package(tmp_path: Path, small_scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.dcm", small_scan)
    decoder = pydicom.pixels.get_decoder(uid.JPEGLSLossless)
    monkeypatch.setattr(type(decoder), "is_available", property(lambda self: False))
    error = refused(tmp_path / "x.dcm")
    assert error.code == "decoder_missing"
    assert "JPEG-LS" in error.reason and error.hint == "pip install pyjpegls"


# ------------------------------------------------------------------------------------------- hostile files
@pytest.mark.parametrize("raw", [True, False])
def test_a_cut_file_is_never_used(tmp_path: Path, small_scan: Scan, raw: bool) -> None:
    path = altered(tmp_path / "x.dcm", small_scan, lambda ds: None, raw=raw)
    data = path.read_bytes()
    cuts = {
        0,
        1,
        128,
        131,
        132,
        133,
        200,
        *range(300, len(data), len(data) // 30),
        *range(len(data) - 12, len(data)),
    }
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        code = refused(path).code
        assert code in ("empty", "not_dicom", "damaged", "truncated"), cut


def test_flipped_bytes_never_crash(tmp_path: Path, small_scan: Scan) -> None:
    write(tmp_path / "x.dcm", small_scan)
    data = bytearray((tmp_path / "x.dcm").read_bytes())
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(150):
        broken = data.copy()
        for at in rng.integers(0, 2600, 3):
            broken[at] = rng.integers(0, 256)
        (tmp_path / "y.dcm").write_bytes(broken)
        try:
            read += len(read_dicom(tmp_path / "y.dcm").views) > 0
        except ScanError as error:
            assert len(str(error)) <= 500
    assert read > 0  # a flip in a text or an empty byte does no harm


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"", "empty", "zero bytes"),
        (b"<!DOCTYPE html><html>Sign in</html>", "not_dicom", "an HTML or XML page"),
        (b"PK\x03\x04" + b"x" * 200, "not_dicom", "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_dicom", "Git LFS pointer"),
        (b"hello", "not_dicom", "text"),
        (b"\x00" * 500, "not_dicom", "unknown content"),
        (b"\x00" * 128 + b"DICM", "damaged", "transfer syntax"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, code: str, says: str) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    error = refused(tmp_path / "x.dcm")
    assert error.code == code and says in error.reason


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert refused(tmp_path / "x.dcm").code == "absent"
    assert refused(tmp_path).code == "not_file"
    os.mkfifo(tmp_path / "fifo")
    assert refused(tmp_path / "fifo").code == "not_file"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refused(tmp_path / "loop").code == "unreadable"


def test_a_deflated_bomb_is_refused_without_inflating_it(tmp_path: Path, small_scan: Scan) -> None:
    path = altered(tmp_path / "x.dcm", small_scan, deflate)
    data = path.read_bytes()
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    inner = zlib.decompress(data[start:], -15)
    bomb = packer.compress(inner) + packer.compress(bytes(200 << 20)) + packer.flush()
    path.write_bytes(data[:start] + bomb)
    assert refused(path).code == "too_large"


def test_deeply_nested_sequences_do_no_harm(tmp_path: Path, small_scan: Scan) -> None:
    def nest(ds: Dataset) -> None:
        inner = Dataset()
        inner.CodeMeaning = "x"
        for _ in range(120):
            outer = Dataset()
            outer.ViewCodeSequence = Sequence([inner])
            inner = outer
        ds.DetectorInformationSequence = Sequence([inner, inner])

    start = time.monotonic()
    assert refused(altered(tmp_path / "x.dcm", small_scan, nest)).code in ("views_unclear", "damaged")
    assert time.monotonic() - start < 20


def test_names_in_a_header_never_reach_a_message(tmp_path: Path, small_scan: Scan) -> None:
    canary = "KIM^CANARY"

    def mark(ds: Dataset) -> None:
        ds.PatientName = ds.PatientID = ds.ReferringPhysicianName = ds.AccessionNumber = canary
        ds.add_new(0x00091040, "LO", canary)
        del ds.EnergyWindowInformationSequence

    path = altered(tmp_path / "x.dcm", small_scan, mark)
    reading = read_dicom(path)
    assert canary not in repr(reading)
    path.write_bytes(path.read_bytes()[:-50])
    assert canary not in str(refused(path))
