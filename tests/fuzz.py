"""Fuzz: damaged copies of small files, each read as the package reads input, in a child process with limits.

Whatever is in a file, it ends as read or as refused in one line. Anything else is a fault: another error, a line of
output, a warning, a name of the header in a message, more than 2 GiB or 30 s, or the end of the process.

`python tests/fuzz.py` (or `make fuzz`) makes new mutations each time and says their seed; what breaks a reader is kept
in `tests/fixtures/crashers`, which `test_fuzz` replays.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import secrets
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

CRASHERS = Path(__file__).parent / "fixtures" / "crashers"
MORE_BYTES = 2 << 30
SECONDS = 30
CANARY = "ZQCANARY"

# ------------------------------------------------------------------------------------------- seeds


def _dicom(syntax: str) -> bytes:
    """Returns a small whole-body file of two frames, with names in its header, the same at each call."""
    import numpy as np
    from vendor_files import SCT, add_detectors, add_windows, body, compress, header, save

    frames = np.stack([body(1, side=side, rows=48, columns=16) for side in ("posterior", "anterior")])
    ds = header(frames, patient=CANARY, study="1")
    ds.SOPInstanceUID = "1.2.3.4"
    ds.private_block(0x0009, "GEMS_GENIE_1", create=True).add_new(0x40, "LO", CANARY)
    add_windows(ds, (126.0, 154.0), vector=[1, 1])
    add_detectors(ds, SCT, [1, 2])
    compress(ds, frames, syntax)
    with tempfile.TemporaryDirectory() as folder:
        return save(Path(folder) / "x", ds, syntax=syntax).read_bytes()


def _picture(suffix: str, **options: Any) -> bytes:
    from PIL import Image
    from vendor_files import body

    buffer = io.BytesIO()
    Image.fromarray(body(1, rows=48, columns=16)).save(buffer, suffix, **options)
    return buffer.getvalue()


def _array() -> bytes:
    import numpy as np
    from vendor_files import body

    buffer = io.BytesIO()
    np.save(buffer, body(1, rows=48, columns=16))
    return buffer.getvalue()


def _manifest() -> bytes:
    from bonescan_utils.manifest_rules import COLUMNS

    rows = [
        f's{at:03d},P{at:03d},scans/{at}.dcm,"scans/{at}.dcm",{at % 2},report,{40 + at}.5,{"FMO"[at % 3]},"lung, left"'
        f",A,{'' if at % 2 else 'GE'},,{at:064x},{at:064x},n"
        for at in range(6)
    ]
    return ("\n".join([",".join([*COLUMNS, "note"]), *rows]) + "\n").encode()


SEEDS: dict[str, Callable[[], bytes]] = {
    "implicit.dcm": lambda: _dicom("1.2.840.10008.1.2"),
    "explicit.dcm": lambda: _dicom("1.2.840.10008.1.2.1"),
    "deflated.dcm": lambda: _dicom("1.2.840.10008.1.2.1.99"),
    "rle.dcm": lambda: _dicom("1.2.840.10008.1.2.5"),
    "jpeg_ls.dcm": lambda: _dicom("1.2.840.10008.1.2.4.80"),
    "jpeg_lossless.dcm": lambda: _dicom("1.2.840.10008.1.2.4.70"),
    "jpeg_2000.dcm": lambda: _dicom("1.2.840.10008.1.2.4.90"),
    "grey.png": lambda: _picture("PNG"),
    "grey.tif": lambda: _picture("TIFF"),
    "packed.tif": lambda: _picture("TIFF", compression="tiff_lzw"),
    "counts.npy": _array,
    "manifest.csv": _manifest,
}
"""What is mutated: name -> the whole file."""


@cache
def seed_files() -> dict[str, bytes]:
    """Returns all seeds, made once."""
    return {name: make() for name, make in SEEDS.items()}


# ------------------------------------------------------------------------------------------- mutations

_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_TOKENS = (
    b'"', b",", b"\n", b"\r", b"\0", b"\xff\xfe", b"=1+1", b"../", b"-1", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0",
    b"\xff\xd8", b"\xff\xd9", b"SQ\0\0\xff\xff\xff\xff", b"1e999", "Ａ".encode(), b"\\",
)  # fmt: skip


def _at(data: bytes, rng: random.Random) -> int:
    """Returns a place in a file, in its first 2,000 bytes more often than not: there are the headers."""
    end = len(data) if rng.random() < 0.4 else min(2000, len(data))
    return rng.randrange(end) if end else 0


def _flip(data: bytearray, rng: random.Random, other: bytes) -> None:
    if data:
        data[_at(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random, other: bytes) -> None:
    if data:
        data[_at(data, rng)] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random, other: bytes) -> None:
    del data[_at(data, rng) :]


def _remove(data: bytearray, rng: random.Random, other: bytes) -> None:
    start = _at(data, rng)
    del data[start : start + rng.choice((1, 2, 4, 8, 100))]


def _double(data: bytearray, rng: random.Random, other: bytes) -> None:
    start, size = _at(data, rng), rng.choice((1, 4, 8, 64, 500))
    data[start:start] = data[start : start + size] * rng.choice((1, 1, 2, 50))


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    start, size = _at(other, rng), rng.choice((4, 16, 200, 2000))
    place = _at(data, rng)
    data[place : place + rng.choice((0, size))] = other[start : start + size]


def _number(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Writes a number that is a length at its limits over 2 or 4 bytes."""
    size, number = rng.choice((2, 4, 4)), rng.choice((*_NUMBERS, len(data), len(data) + 1))
    place = _at(data, rng) & ~1
    order = rng.choice(("little", "little", "big"))
    data[place : place + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, order)


def _token(data: bytearray, rng: random.Random, other: bytes) -> None:
    place, token = _at(data, rng), rng.choice(_TOKENS)
    data[place : place + rng.choice((0, len(token)))] = token


_WAYS = (_flip, _flip, _overwrite, _cut, _remove, _double, _splice, _number, _number, _number, _token)


def mutation(seed: int, at: int) -> tuple[str, bytes]:
    """Returns name and content of mutation number `at` of a campaign: a seed, changed in one to four ways."""
    rng = random.Random(f"{seed}/{at}")
    files = seed_files()
    name = list(files)[at % len(files)]
    data = bytearray(files[name])
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(_WAYS)(data, rng, files[rng.choice(list(files))])
    return name, bytes(data)


# ------------------------------------------------------------------------------------------- reading, in the child


def fault_of_line(text: str) -> str:
    """Returns what is wrong with a message, '' if it is one short line."""
    one_line = "\n" not in text and text.isprintable() and 0 < len(text) <= 500
    return "" if one_line else f"no line of 1 to 500 characters: {text[:200]!r}"


def read_as_input(path: Path) -> tuple[str, list[str]]:
    """Reads a file on every way that input comes in; returns how it ended, and the messages."""
    return _read_table(path) if path.suffix == ".csv" else _read_image(path)


def _read_table(path: Path) -> tuple[str, list[str]]:
    from bonescan_utils.files import CsvError, read_csv
    from bonescan_utils.manifest import read_manifest
    from bonescan_utils.problems import ManifestError

    told = []
    try:
        read_csv(path)
    except CsvError as error:
        told.append(str(error))
    try:
        read_manifest(path)
    except ManifestError as error:
        return "manifest", told + [str(problem) for problem in error.problems]
    return "read", told


def _read_image(path: Path) -> tuple[str, list[str]]:
    from bonescan_utils.ingest.examine import examine
    from bonescan_utils.loading import load_file
    from bonescan_utils.scan import ScanError, require_quality

    ends, told = [], []
    try:
        scan = load_file(path)
        told += [*scan.warnings, *require_quality(scan)]
        ends.append("read")
    except ScanError as error:
        ends.append(error.code)
        told.append(str(error))
    if path.suffix == ".dcm":
        record = examine(path.name, root=path.parent, out=path.parent / "out", key=b"k" * 32)
        told += [record["reason"], record["next_step"]] if "code" in record else record["notes"]
        ends.append(record.get("code", "read"))
    return ends[-1], told


def judge(path: Path) -> tuple[str, str]:
    """Returns how a file ended, and what was wrong with it ('' for nothing)."""
    started = time.process_time()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            end, told = read_as_input(path)
    except BaseException as error:
        return "fault", f"{type(error).__name__}: {str(error)[:300]}"
    faults = [fault for text in told if (fault := fault_of_line(text))]
    if path.suffix == ".dcm":
        faults += [f"it quotes the header: {text[:200]!r}" for text in told if CANARY in text]
    faults += [f"a warning: {str(item.message)[:200]}" for item in warned]
    seconds = time.process_time() - started
    faults += [f"{seconds:.0f} s"] * (seconds > SECONDS)
    return end, "; ".join(faults[:3])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _child(work: Path, seed: int, first: int, end: int) -> None:
    """Judges mutations, or all crashers; a line for each, its number before it is begun."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import resource

    from bonescan_utils import dicom, images, manifest  # noqa: F401  loaded before the limit counts
    from bonescan_utils.bounds import address_space
    from bonescan_utils.ingest import examine  # noqa: F401

    limit = address_space() + MORE_BYTES + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for at, (name, data) in enumerate(_inputs(seed, first, end), start=first):
        path = work / name
        path.write_bytes(data)
        _say(str(at))
        ended, fault = judge(path)
        peak = _peak()
        fault = fault or (f"{peak:,} bytes in memory" if peak > MORE_BYTES else "")
        _say(json.dumps({"at": at, "name": name, "end": ended, "fault": fault}))


def _peak() -> int:
    """Most memory of this process so far, in bytes; getrusage would go on from that of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def _inputs(seed: int, first: int, end: int) -> Iterator[tuple[str, bytes]]:
    if seed < 0:
        yield from ((path.name, path.read_bytes()) for path in sorted(CRASHERS.iterdir())[first:end])
    else:
        yield from (mutation(seed, at) for at in range(first, end))


# ------------------------------------------------------------------------------------------- the campaign


def campaign(seed: int, n: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Runs `n` mutations (of seed -1: the first `n` crashers); returns how they ended, and (number, fault)."""
    ends: Counter[str] = Counter()
    faults: list[tuple[int, str]] = []
    first = 0
    while first < n:
        records, begun, said = _run_child(seed, first, n)
        ends.update(record["end"] for record in records)
        faults += [(record["at"], record["fault"]) for record in records if record["fault"]]
        if begun is None and not said:
            break
        faults.append((first if begun is None else begun, said or "the process ended"))
        first = n if begun is None else begun + 1
    return ends, faults


def _run_child(seed: int, first: int, n: int) -> tuple[list[dict[str, Any]], int | None, str]:
    """Runs a child to its end; returns its records, the input that it ended in, and what else was said."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, __file__, "--child", work, str(seed), str(first), str(n)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        records: list[dict[str, Any]] = []
        begun = None
        hung = _watched(child)
        for line in hung:
            if line[:1] == "{":
                records.append(json.loads(line))
                begun = None
            elif line.strip().isdecimal():
                begun = int(line)
            else:
                child.kill()
                return records, begun, f"output: {line[:200]!r}"
        said.seek(0)
        noise = said.read()
        if begun is not None or child.returncode:
            return records, begun, f"the process ended with {child.returncode}: {noise[-300:]!r}"
        return records, None, f"output: {noise[:300]!r}" if noise else ""


def _watched(child: subprocess.Popen[str]) -> Iterator[str]:
    """Gives the lines of a child, which is killed when none comes for longer than a file may take."""
    import threading

    last = [time.monotonic() + 300]  # a busy machine takes long to start it
    done = threading.Event()

    def guard() -> None:
        while not done.wait(1):
            if time.monotonic() - last[0] > 2 * SECONDS + 15:
                child.kill()

    threading.Thread(target=guard, daemon=True).start()
    assert child.stdout is not None
    for line in child.stdout:
        last[0] = time.monotonic()
        yield line
    child.wait()
    done.set()


def keep(seed: int, at: int) -> Path:
    """Keeps a mutation that broke a reader, for `test_fuzz` to replay."""
    name, data = mutation(seed, at)
    path = CRASHERS / f"{Path(name).stem}_{seed}_{at}{Path(name).suffix}"
    path.write_bytes(data)
    return path


def main() -> int:
    """Runs a campaign of new mutations."""
    parser = argparse.ArgumentParser(description="Look for files that break a reader.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="repeat the mutations of this seed")
    parser.add_argument("--n", type=int, default=20_000, help="number of mutations (default: 20000)")
    options = parser.parse_args()
    _say(f"{options.n:,} mutations of {len(SEEDS)} files, --seed {options.seed}")
    started = time.monotonic()
    ends, faults = campaign(options.seed, options.n)
    told = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    _say(f"{time.monotonic() - started:.0f} s: {told}; {len(faults)} faults")
    for at, fault in faults:
        _say(f"{keep(options.seed, at).name}: {fault}")
    return bool(faults)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
        sys.exit(0)
    sys.exit(main())
