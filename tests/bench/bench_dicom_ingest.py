"""Ingest of a PACS folder: scans a second, and whether memory grows with the number of files.

    python tests/bench/bench_dicom_ingest.py [--scans 400] [--many 2000,20000,100000] [--jobs 2]

Speed: two-frame files of 1024 x 256, fabricated as an e.cam writes them, each with pixels of its own. Memory: many
small files (64 x 16), a tenth of them no scans, in folders of 200: the bytes of one file with other ids and pixels
patched in. Peak of this process above what it had before, and of its workers; processor time of all of them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import pydicom
from joblib.externals.loky import get_reusable_executor

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record
from vendor_files import body, siemens_ecam

from bonescan_utils.ingest import ingest_folder

ID, UID = b"P00000000", b"1.2.3.100000000"
"""Of the template, with as many digits as are patched in."""


def template(folder: Path, *, rows: int, columns: int, spot: bool) -> tuple[bytes, list[int]]:
    """Return the bytes of a file of two views, and where the pixels of each begin."""
    ds = pydicom.dcmread(siemens_ecam(folder / "template", 0, patient="T"))
    frames = np.stack([body(0, rows=rows, columns=columns), body(0, side="posterior", rows=rows, columns=columns)])
    frames[:, 0, :8] = 0
    if spot:
        frames[:, rows // 3 : rows // 3 + rows // 12, columns // 2 : columns // 2 + columns // 5] *= 6
    ds.Rows, ds.Columns, ds.PixelData = rows, columns, frames.tobytes()
    ds.PatientID, ds.StudyInstanceUID, ds.SOPInstanceUID = ID.decode(), UID.decode(), UID.decode()
    ds.file_meta.MediaStorageSOPInstanceUID = UID.decode()
    del ds.CountsAccumulated  # the pixels that are patched in change it
    ds.save_as(folder / "template")
    data = (folder / "template").read_bytes()
    (folder / "template").unlink()
    return data, [data.index(frames[view].tobytes()) for view in (0, 1)]


def make(folder: Path, n: int, *, rows: int, columns: int, spots: bool = False) -> None:
    """Write n files of two views, each with ids and pixels of its own; with `spots`, one in every second scan."""
    kinds = [template(folder, rows=rows, columns=columns, spot=spot) for spot in (False, spots)]
    for at in range(n):
        place = folder / f"{at // 200:04d}"
        place.mkdir(exist_ok=True)
        digits, (data, pixels) = f"{at:08d}".encode(), kinds[at % 2]
        made = bytearray(data.replace(UID, UID[:-8] + digits).replace(ID, ID[:-8] + digits))
        for view in pixels:
            made[view : view + 16] = np.frombuffer(digits, np.uint8).astype("<u2").tobytes()
        (place / f"{at:06d}").write_bytes(b"no scan" if n > 1000 and at % 10 == 9 and not spots else made)


class Peak(threading.Thread):
    """Watches the resident memory of this process, above what it had, and of its children, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = psutil.Process().memory_info().rss / 1e6
        self.own, self.workers, self.on = 0.0, 0.0, True

    def run(self) -> None:
        """Look five times a second."""
        me = psutil.Process()
        while self.on:
            self.own = max(self.own, me.memory_info().rss / 1e6 - self.before)
            for child in me.children(recursive=True):
                try:
                    self.workers = max(self.workers, child.memory_info().rss / 1e6)
                except psutil.Error:
                    continue
            time.sleep(0.2)


def spent() -> float:
    """Processor time of this process and of its children, the living ones too, in s."""
    me = psutil.Process()
    own = me.cpu_times()
    total = sum((own.user, own.system, own.children_user, own.children_system))
    for child in me.children(recursive=True):
        total += sum(child.cpu_times()[:2])
    return total


def measured(folder: Path, out: Path, jobs: int) -> tuple[float, float, Peak, int]:
    """Seconds by the clock and of processors of an ingest, its memory, and the scans found."""
    peak = Peak()
    peak.start()
    began, before = time.perf_counter(), spent()
    outcome = ingest_folder(folder, out / "m.csv", key_file=out.parent / "keys" / "k", n_jobs=jobs, progress=False)
    peak.on = False
    return time.perf_counter() - began, spent() - before, peak, outcome.scans


def many(base: Path, n: int, jobs: int) -> list[tuple[str, float, str]]:
    """Rows of n small files, read by a process of its own: memory that a larger number left would hide in it."""
    make(base / f"many{n}", n, rows=64, columns=16)
    rows = []
    for what in ("", ", again with nothing to do"):
        seconds, cpu, peak, _ = measured(base / f"many{n}", base / f"out{n}", jobs)
        rows += [
            (f"{n} small files{what}", seconds, "s"),
            (f"{n} small files{what}, processor time", 1e3 * cpu / n, "ms/file"),
            (f"{n} small files{what}, memory of the main process", peak.own, "MB"),
            (f"{n} small files{what}, memory of a worker", peak.workers, "MB"),
        ]
    end_workers()
    return rows


def end_workers() -> None:
    """End the workers of joblib: a process of a pool would wait five minutes for them at its end."""
    get_reusable_executor().shutdown(wait=True)


def apart(base: Path, n: int, jobs: int) -> list[tuple[str, float, str]]:
    """Returns `many` of a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(many, base, n, jobs).result()


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=400)
    parser.add_argument("--many", default="2000,20000,100000", help="numbers of small files (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="bench_ingest_"))
    rows = []
    try:
        make(base / "full", options.scans, rows=1024, columns=256)
        for jobs in (1, options.jobs):
            seconds, cpu, _, scans = measured(base / "full", base / f"out_full{jobs}", jobs)
            rows += [
                (f"ingest, {jobs} process(es)", scans / seconds, "scans/s"),
                (f"ingest, {jobs} process(es), processor time", 1e3 * cpu / scans, "ms/scan"),
            ]
        for n in map(int, options.many.split(",")):
            rows += apart(base, n, options.jobs)
            shutil.rmtree(base / f"many{n}")
            shutil.rmtree(base / f"out{n}")
    finally:
        shutil.rmtree(base)
    record("dicom_ingest", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
