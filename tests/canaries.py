"""Canaries: words that stand for a patient's identity, where they are planted, and a search of every byte for them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter
from vendor_files import SCT, add_detectors, add_windows, body, header, save

PREFIX = "QZJXVK"  # begins every canary, so that one search finds all of them, cut short or not
DIGITS = "97531864209753"  # in every UID and number
BORN = ("19370213", "1937-02-13")

WORDS: dict[str, str] = {}
"""Canary -> the place it was planted in."""

TEXTS = """
    PatientName PatientID IssuerOfPatientID OtherPatientIDs OtherPatientNames PatientBirthName PatientMotherBirthName
    PatientAddress PatientTelephoneNumbers PatientComments AdditionalPatientHistory Occupation EthnicGroup
    MedicalRecordLocator MilitaryRank CountryOfResidence RegionOfResidence AccessionNumber StudyID AdmissionID
    ReferringPhysicianName PerformingPhysicianName OperatorsName NameOfPhysiciansReadingStudy RequestingPhysician
    RequestingService InstitutionName InstitutionAddress InstitutionalDepartmentName StationName DeviceSerialNumber
    StudyDescription SeriesDescription ProtocolName ImageComments PerformedProcedureStepDescription ImageID
    SoftwareVersions Manufacturer ManufacturerModelName CurrentPatientLocation
""".split()
LONG = {"PatientAddress", "PatientComments", "AdditionalPatientHistory", "ImageComments", "InstitutionAddress"}


def canary(place: str) -> str:
    """Returns a word of 14 capital letters for a place."""
    tail = "".join(chr(65 + byte % 26) for byte in hashlib.sha256(place.encode()).digest()[:8])
    WORDS[PREFIX + tail] = place
    return PREFIX + tail


# ------------------------------------------------------------------------------------------- planting
def planted(path: Path, seed: int) -> Path:
    """Writes a two-view file of a camera, with a canary in every place that may hold an identity."""
    rng = np.random.default_rng(seed)
    frames = np.stack([_varied(body(seed, side=side), rng) for side in ("posterior", "anterior")])
    ds = header(frames, patient=f"{DIGITS}{seed}", study="1")
    add_windows(ds, (126.0, 154.0), vector=[1, 1])
    add_detectors(ds, [(*code[:2], canary(f"{seed} CodeMeaning {code[0]}")) for code in SCT], [1, 2])
    for keyword in TEXTS:
        setattr(ds, keyword, canary(f"{seed} {keyword}") + "^X" * ("Name" in keyword and keyword.endswith("Name")))
    ds.PatientID, ds.PatientBirthDate = f"{canary(f'{seed} PatientID')}", BORN[0]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(ds, keyword, f"1.2.826.0.{len(keyword)}.{seed}.{DIGITS}")
    ds.OtherPatientIDsSequence = [_item(f"{seed} other id")]
    ds.add_new(0x60000010, "US", 8)  # an overlay, with text about it
    ds.add_new(0x60000022, "LO", canary(f"{seed} overlay description"))
    ds.add_new(0x60003000, "OB", canary(f"{seed} overlay data").encode())
    ds.private_block(0x0029, canary(f"{seed} private creator"), create=True).add_new(
        0x10, "LT", canary(f"{seed} private")
    )
    save(path, ds)
    data = bytearray(path.read_bytes())
    data[: len(PREFIX) + 8] = canary(f"{seed} preamble").encode()
    path.write_bytes(data)
    return path


def _item(place: str) -> Dataset:
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = canary(place), canary(f"{place}, issuer")
    return item


def _varied(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns counts that look unlike those of other patients."""
    field = gaussian_filter(rng.normal(size=counts.shape), (7, 4))
    expected = counts * np.exp(1.2 * field / field.std())
    return rng.poisson(expected * counts.sum() / expected.sum()).astype(np.uint16)


def planted_folder(root: Path, n: int) -> Path:
    """Fills a folder tree whose folders and files are named by canaries; two files cannot be used."""
    folder = root / canary("folder") / f"{canary('folder of a patient')}_{BORN[0]}"
    for seed in range(n):
        planted(folder / f"{canary(f'{seed} file name')}.dcm", seed)
    (folder / f"{canary('letter')}.txt").write_text(canary("text of a letter"))
    (folder / f"cut_{canary('cut file')}").write_bytes(planted(folder / "whole", n).read_bytes()[:2000])
    (folder / "whole").unlink()
    return folder


def planted_reports(path: Path, n: int) -> Path:
    """Writes a table of reports that names patients in every column."""
    lines = ["accession,patient_name,ward,text,primary_cancer"]
    for seed in range(n):
        text = f"{canary(f'{seed} report')} {'Multiple' if seed % 2 else 'No'} bone metastases. {canary('doctor')}"
        row = (canary(f"{seed} AccessionNumber"), canary(f"{seed} name"), canary("ward"), text, canary("cancer"))
        lines.append(",".join(row))
    path.write_text("\n".join(lines) + "\n")
    return path


# ------------------------------------------------------------------------------------------- searching
def _base64_cores(word: str) -> list[bytes]:
    """Returns what a word looks like in base64 at each of the three offsets, without the letters it shares.

    All that are its own: fewer are found by chance in the pictures of a page.
    """
    found = []
    for offset in range(3):
        data = b"\0" * offset + word.encode()
        found.append(base64.b64encode(data)[(0, 2, 3)[offset] : 8 * len(data) // 6])
    return found


_SPELT = [PREFIX.encode(), *(PREFIX.encode(code) for code in ("utf-16-le", "utf-16-be", "utf-32-le"))]
_PLAIN = re.compile(
    b"|".join(re.escape(word) for word in _SPELT + [w.encode() for w in (DIGITS, *BORN)]), re.IGNORECASE
)
_CODED = re.compile(b"|".join(re.escape(core) for core in _base64_cores(PREFIX)))
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{120,}={0,2}")
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)


def hits(name: str, data: bytes, *, depth: int = 0) -> Iterator[str]:
    """Gives where canaries stand in bytes, and in what is packed into them: zip, gzip, PNG, PDF, base64."""
    for pattern in (_PLAIN, _CODED):
        for match in pattern.finditer(data):
            context = data[max(0, match.start() - 30) : match.end() + 40]
            yield f"{name}: ...{context!r}... planted in {_planted_in(context)}"
    if depth < 4:
        for inner, content in _unpacked(data):
            yield from hits(f"{name} > {inner}", content, depth=depth + 1)


def _planted_in(context: bytes) -> str:
    text = context.replace(b"\0", b"").decode("latin-1").upper()
    return next((place for word, place in WORDS.items() if word in text), "?")


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield member.filename, member.filename.encode() + archive.read(member)
    elif data[:2] == b"\x1f\x8b":
        yield "gzip", gzip.decompress(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png_texts(data)
    elif data[:5] == b"%PDF-":
        for match in _STREAM.finditer(data):
            inflater = zlib.decompressobj()
            try:
                yield "stream", inflater.decompress(match[1])
            except zlib.error:
                continue  # a stream without compression was searched as it is
    elif b"\0" not in data[:1000]:
        for match in _BASE64.finditer(data):
            yield "base64", base64.b64decode(match[0][: len(match[0]) // 4 * 4])


def _png_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        chunk = data[at + 8 : at + 8 + length]
        if kind == b"zTXt":
            yield "zTXt", zlib.decompress(chunk.split(b"\0", 1)[1][1:])
        elif kind == b"iTXt" and chunk.split(b"\0", 1)[1][:1] == b"\x01":
            yield "iTXt", zlib.decompress(chunk.split(b"\0", 1)[1][2:].split(b"\0", 2)[2])
        at += 12 + length


def hits_in(folder: Path, *, without: tuple[Path, ...] = ()) -> list[str]:
    """Returns all canaries in the names and bytes of all files below a folder."""
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(path == left or left in path.parents for left in without):
            continue
        found += hits(f"name of {name}", name.encode())
        found += hits(name, path.read_bytes()) if path.is_file() else []
    return found
