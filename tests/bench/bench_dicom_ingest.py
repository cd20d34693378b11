"""Ingest of a PACS folder: scans a second, and whether memory grows with the number of files.

    python tests/bench/bench_dicom_ingest.py [--scans 400] [--many 20000] [--jobs 2]

Speed: two-frame files of 1024 x 256, fabricated as an e.cam writes them, each with pixels of its own. Memory: many
small files (128 x 32), a tenth of them no scans, in folders of 200; peak of this process and of its workers.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record
from vendor_files import body, siemens_ecam

from bonescan_utils.ingest import ingest_folder


def make(folder: Path, n: int, *, rows: int, columns: int) -> None:
    """Write n files of two views; every tenth of a large number is no scan."""
    template = pydicom.dcmread(siemens_ecam(folder / "template", 0, patient="T"))
    (folder / "template").unlink()
    frames = np.stack([body(0, rows=rows, columns=columns), body(0, side="posterior", rows=rows, columns=columns)])
    template.Rows, template.Columns = rows, columns
    for at in range(n):
        place = folder / f"{at // 200:04d}"
        place.mkdir(exist_ok=True)
        if n > 5000 and at % 10 == 9:
            (place / f"{at:06d}").write_bytes(b"no scan")
            continue
        frames[:, 0, :16] = np.frombuffer(f"{at:016d}".encode(), np.uint8)  # pixels of its own
        template.PatientID, template.StudyInstanceUID = f"P{at % 3 * n + at // 3}", f"1.2.3.{at}"
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = f"1.2.4.{at}"
        template.CountsAccumulated, template.PixelData = int(frames.sum()), frames.tobytes()
        template.save_as(place / f"{at:06d}")


class Peak(threading.Thread):
    """Watches the resident memory of this process and of its children, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own, self.workers, self.on = 0.0, 0.0, True

    def run(self) -> None:
        """Look twice a second."""
        import psutil

        me = psutil.Process()
        while self.on:
            self.own = max(self.own, me.memory_info().rss / 1e6)
            for child in me.children(recursive=True):
                try:
                    self.workers = max(self.workers, child.memory_info().rss / 1e6)
                except psutil.Error:
                    continue
            time.sleep(0.5)


def timed(folder: Path, out: Path, jobs: int) -> tuple[float, Peak, int]:
    """Seconds of an ingest, its memory, and the scans found."""
    peak = Peak()
    peak.start()
    began = time.perf_counter()
    outcome = ingest_folder(folder, out / "m.csv", key_file=out.parent / "keys" / "k", n_jobs=jobs, progress=False)
    peak.on = False
    return time.perf_counter() - began, peak, outcome.scans


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=400)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="bench_ingest_"))
    rows = []
    try:
        make(base / "full", options.scans, rows=1024, columns=256)
        before = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, _, scans = timed(base / "full", base / "out_full", 1)
        own = resource.getrusage(resource.RUSAGE_SELF)
        cpu = own.ru_utime + own.ru_stime - before[0].ru_utime - before[0].ru_stime
        rows += [
            ("ingest, one process", scans / seconds, "scans/s"),
            ("ingest, processor time", 1e3 * cpu / scans, "ms/scan"),
        ]
        shutil.rmtree(base / "out_full")
        seconds, _, scans = timed(base / "full", base / "out_two", options.jobs)
        rows.append((f"ingest, {options.jobs} processes", scans / seconds, "scans/s"))
        for n in (options.many // 10, options.many):
            make(base / f"many{n}", n, rows=128, columns=32)
            seconds, peak, scans = timed(base / f"many{n}", base / f"out{n}", options.jobs)
            rows += [
                (f"{n} small files", n / seconds, "files/s"),
                (f"{n} small files, memory of the main process", peak.own, "MB"),
                (f"{n} small files, memory of a worker", peak.workers, "MB"),
            ]
            seconds, _, _ = timed(base / f"many{n}", base / f"out{n}", options.jobs)
            rows.append((f"{n} small files, again with nothing to do", seconds, "s"))
    finally:
        shutil.rmtree(base)
    record("dicom_ingest", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
