"""The image store of a run: every scan's model-ready image, and augmented copies of the training scans.

Three memory-mapped arrays, so that memory stays flat however many scans there are. Copies are drawn from the counts
(thinning comes before normalisation) with one seed a scan: a scan's copies do not depend on which others are there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonescan_utils.files import read_text_csv, sha256_file, write_atomic, write_csv
from bonescan_utils.loading import load_scan
from bonescan_utils.preprocessing import DEFAULT_SIZE, draw_jitter, prepare
from bonescan_utils.profiles import StudyError
from bonescan_utils.scan import ScanError
from bonescan_utils.seal import read_sealed, write_sealed
from bonescan_utils.workers import in_order

FILES = ("images.npy", "copies.npy", "index.csv")
"""Files of a store beside its record, `store.json`, which is written last and holds their hashes."""


@dataclass(frozen=True)
class ImageStore:
    """A store opened for reading.

    Attributes:
        images: uint8 (n, h, w), one a scan, in the order of `scan_ids`.
        copies: uint8 (m, K, h, w), K copies of each of the m training scans; None without copies.
        copy_rows: int (m,), the row in `images` of each scan that has copies.
        scan_ids: The scans.
        layout: The layout they were prepared in.
    """

    images: np.ndarray
    copies: np.ndarray | None
    copy_rows: np.ndarray
    scan_ids: tuple[str, ...]
    layout: str

    def pictures(self, scan_ids: pd.Series | list[str]) -> list[np.ndarray]:
        """Return the images (h, w) of some scans, in their order."""
        return [np.asarray(self.images[self.scan_ids.index(str(name))]) for name in scan_ids]


def build_store(
    used: pd.DataFrame,
    root: Path,
    out: Path,
    *,
    copies: int = 0,
    copies_of_all: bool = False,
    seed: int = 0,
    layout: str = "side_by_side",
    size: tuple[int, int] = DEFAULT_SIZE,
    n_jobs: int = -1,
    progress: bool = True,
) -> ImageStore:
    """Prepare every scan of a cohort, and `copies` augmented copies of each training scan.

    Args:
        used: The cohort; one row a scan, columns of the manifest.
        root: The folder its paths are relative to.
        out: The store's folder; an older store there is replaced, file by file.
        copies: Copies K of each scan of partition `train`.
        copies_of_all: Of each scan instead: in a cross-validation every scan is trained on in some fold.
        seed: Seed of the copies.
        layout: A key of `preprocessing.LAYOUTS`.
        size: (height, width) of an image.
        n_jobs: Worker processes; -1 for one a core. The result does not depend on it.
        progress: Show a progress bar.

    Raises:
        ScanError: A scan cannot be prepared; `ingest` sets such scans aside before they come here.
        ValueError: The cohort is empty, or the layout is unknown.
    """
    if used.empty:
        raise ValueError("the cohort has no scan: nothing to prepare")
    rows = used.to_dict("records")
    in_train = (used["partition"] == "train").to_numpy()
    wanted = np.where(in_train | copies_of_all, copies, 0)
    tasks = [
        (row, int(n), [seed, zlib.crc32(str(row["scan_id"]).encode())]) for row, n in zip(rows, wanted, strict=True)
    ]
    prepare_one = partial(_prepare_all, root=Path(root).resolve(), layout=layout, size=size)
    work = in_order(prepare_one, tasks, label="images", n_jobs=n_jobs, progress=progress)
    _write_arrays(Path(out), work, len(rows), wanted, size)
    index = pd.DataFrame({"scan_id": used["scan_id"].astype(str), "copies": wanted})
    write_csv(Path(out) / "index.csv", index)
    hashes = {name: sha256_file(Path(out) / name) for name in FILES}
    about = {"layout": layout, "size": list(size), "copies": copies, "seed": seed, "sha256": hashes}
    write_sealed(Path(out) / "store.json", about)
    return open_store(Path(out))


def open_store(out: Path) -> ImageStore:
    """Open a store. Its files are hashed once in a process, and again when they change.

    Raises:
        FileNotFoundError: There is none at `out`.
        StudyError: A file of it is not what was written; the text names it.
    """
    out = Path(out)
    if not (out / "store.json").exists():
        raise FileNotFoundError(f"no image store in {out.name}/: run notebook 02_preprocessing first")
    about = _checked(out)
    index = read_text_csv(out / "index.csv")
    rows = np.flatnonzero(index["copies"].astype(int).to_numpy())
    copies = np.load(out / "copies.npy", mmap_mode="r", allow_pickle=False) if len(rows) else None
    images = np.load(out / "images.npy", mmap_mode="r", allow_pickle=False)
    return ImageStore(images, copies, rows, tuple(index["scan_id"]), str(about["layout"]))


def _checked(out: Path) -> dict[str, Any]:
    """Return the record of a store, all of whose files are what it says."""
    advice = f"is damaged; remove {out.name}/store.json and run notebook 02_preprocessing again"
    try:
        about = read_sealed(out / "store.json")
    except ValueError as error:
        raise StudyError(f"{out.name}/{error}: it {advice}") from None
    for name, expected in about["sha256"].items():
        path = out / name
        if not path.is_file() or _hashed(str(path), path.stat().st_size, path.stat().st_mtime_ns) != expected:
            raise StudyError(f"{out.name}/{name} is not what was written: it {advice}")
    return about


@lru_cache(maxsize=64)
def _hashed(path: str, size: int, mtime_ns: int) -> str:
    """Return the hash of a file as it is now."""
    return sha256_file(path)


def _prepare_all(
    task: tuple[dict, int, list[int]], root: Path, layout: str, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a scan's image (h, w) and its copies (K, h, w), of a row, the number of copies, and their seed."""
    row, copies, seed = task
    scan = load_scan({str(key): value for key, value in row.items()}, root)
    rng = np.random.default_rng(seed)
    try:
        image = prepare(scan, layout=layout, size=size).image
        drawn = [prepare(scan, layout=layout, size=size, jitter=draw_jitter(rng)).image for _ in range(copies)]
    except ScanError as error:
        raise error.at(str(row["scan_id"])) from None
    return image, np.array(drawn, np.uint8).reshape(copies, *size)


def _write_arrays(
    out: Path, work: Iterable[tuple[np.ndarray, np.ndarray]], n: int, wanted: np.ndarray, size: tuple[int, int]
) -> None:
    """Write `images.npy` and `copies.npy` as the work comes in; both appear whole or not at all."""
    (out / "store.json").unlink(missing_ok=True)  # while the arrays change there is no store
    per_scan, with_copies = int(wanted.max()), int((wanted > 0).sum())
    with (
        write_atomic(out / "images.npy") as one,
        write_atomic(out / "copies.npy") as two,
        one.open("wb") as images,  # no memory map: on a full disk that ends in a bus error
        two.open("wb") as copies,
    ):
        for stream, shape in ((images, (n, *size)), (copies, (with_copies, per_scan, *size))):
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
        for image, drawn in work:
            images.write(image.tobytes())
            copies.write(drawn.tobytes())
