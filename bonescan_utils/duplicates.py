"""Duplicates: the same image under two ids, exactly or nearly: re-exported, windowed, compressed, resized, padded.

Exact: SHA-256 of the pixels. Near: perceptual hash (pHash of Zauner 2010, package imagehash) of each view, cropped to
the body and drawn by its own counts, 256 bits; the distance of two scans is the mean number of bits that differ over
the views that both have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bonescan_utils.files import read_text_csv, write_csv
from bonescan_utils.loading import load_scan
from bonescan_utils.scan import VIEWS, ScanError, View
from bonescan_utils.workers import in_order

HASH_SIDE = 16
BITS = HASH_SIDE**2
NEAR_BITS = 20
"""Distance up to which two scans are called near duplicates. See docs/own_data.md for how it was measured."""

COLUMNS = ("scan_id", "stamp", "pixels", "anterior", "posterior", "fault")
"""Of the table of fingerprints: `stamp` tells whether the files are still the same, `fault` why one cannot be read."""

_BODY = 0.005  # of the counts lie outside the body at each end
_BRIGHT = 99.5  # percentile that becomes white
_CELLS = 1 << 22  # pairs compared at once: about 100 MB


def fingerprints(
    df: pd.DataFrame, root: str | Path, *, cache: str | Path | None = None, n_jobs: int = -1, progress: bool = True
) -> pd.DataFrame:
    """Returns the fingerprint of every scan of a manifest.

    Args:
        df: From `read_manifest`.
        root: The folder that its paths are relative to.
        cache: A CSV of fingerprints made before; scans whose files are the same are not read again. It is written.
        n_jobs: Worker processes; -1 is one per processor.
        progress: Show a progress bar.

    Returns:
        `COLUMNS`, a row per scan in the order of `df`, all text; hashes are hexadecimal, '' without the view.
    """
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in df.to_dict("records")]
    stamps = [_stamp(row, Path(root)) for row in rows]
    known = _known(cache)
    todo = [at for at, stamp in enumerate(stamps) if known.get(rows[at]["scan_id"], {}).get("stamp") != stamp]
    jobs = 1 if len(todo) < 64 else n_jobs
    one = partial(_fingerprint, root=Path(root).resolve())
    made = in_order(one, [rows[at] for at in todo], label="Comparing scans", n_jobs=jobs, progress=progress)
    new = {rows[at]["scan_id"]: found | {"stamp": stamps[at]} for at, found in zip(todo, made, strict=True)}
    table = pd.DataFrame(
        [{"scan_id": row["scan_id"], **(known | new)[row["scan_id"]]} for row in rows], columns=pd.Index(COLUMNS)
    )
    if cache is not None:
        write_csv(cache, table)
    return table


def _known(cache: str | Path | None) -> dict[str, dict[str, str]]:
    """Returns scan_id -> fingerprint of a table made before."""
    if cache is None or not Path(cache).exists():
        return {}
    table = read_text_csv(cache)
    if list(table.columns) != list(COLUMNS):
        return {}
    return {row["scan_id"]: {str(k): v for k, v in row.items()} for row in table.to_dict("records")}


def _stamp(row: Mapping[str, Any], root: Path) -> str:
    """Returns what changes when a scan's files do: names, sizes, times."""
    told = []
    for name in VIEWS:
        path = root / str(row[name])
        if row[name] and path.is_file():
            status = path.stat()
            told.append(f"{row[name]}:{status.st_size}:{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _fingerprint(row: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Reads one scan; a scan that cannot be read has a fault instead of hashes."""
    try:
        scan = load_scan(row, root)
    except ScanError as error:
        return {"pixels": "", "anterior": "", "posterior": "", "fault": error.code}
    pixels = hashlib.sha256(b"".join(np.ascontiguousarray(view.counts).tobytes() for view in scan.views)).hexdigest()
    hashes = {view.name: perceptual_hash(view) for view in scan.views}
    return {"pixels": pixels, **{name: hashes.get(name, "") for name in VIEWS}, "fault": ""}


def perceptual_hash(view: View) -> str:
    """Returns the perceptual hash of a view, 64 hexadecimal digits; '' for a view without counts."""
    import imagehash

    if not view.total:
        return ""
    counts = _cropped(view.counts.astype(np.float64))
    white = max(float(np.percentile(counts, _BRIGHT)), 1e-9)
    grey = (255 * np.sqrt(np.clip(counts / white, 0, 1))).astype(np.uint8)
    bits = imagehash.phash(Image.fromarray(grey), hash_size=HASH_SIDE).hash
    return np.packbits(np.asarray(bits, dtype=bool)).tobytes().hex()


def _cropped(counts: np.ndarray) -> np.ndarray:
    """Cuts to the rows and columns that hold the middle 99 % of the counts."""
    for axis in (0, 1):
        share = np.cumsum(counts.sum(axis=1 - axis)) / counts.sum()
        first, last = int(np.searchsorted(share, _BODY)), int(np.searchsorted(share, 1 - _BODY))
        counts = counts.take(np.arange(first, min(last + 1, counts.shape[axis])), axis=axis)
    return counts


def near_pairs(table: pd.DataFrame, *, limit: float = NEAR_BITS) -> pd.DataFrame:
    """Returns the pairs of scans whose distance is at most `limit`, exact copies included.

    Args:
        table: From `fingerprints`.
        limit: In bits of 256.

    Returns:
        scan_a, scan_b, bits: a row per pair, in the order of the table.
    """
    seen = table[(table["anterior"] != "") | (table["posterior"] != "")]
    ids = seen["scan_id"].to_numpy()
    words = {name: _words(seen[name]) for name in VIEWS}
    block = max(1, _CELLS // max(1, len(ids)))
    rows = [
        (ids[a], ids[b], bits)
        for start in range(0, len(ids), block)
        for a, b, bits in _near_block(words, start, start + block, limit)
    ]
    return pd.DataFrame(rows, columns=pd.Index(["scan_a", "scan_b", "bits"]))


def _words(hashes: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Returns hashes as (n, 4) 64-bit words, and which of them are there."""
    there = (hashes != "").to_numpy()
    data = b"".join(bytes.fromhex(text) if text else bytes(BITS // 8) for text in hashes)
    return np.frombuffer(data, dtype=np.uint64).reshape(len(hashes), BITS // 64), there


def _near_block(
    words: Mapping[str, tuple[np.ndarray, np.ndarray]], start: int, stop: int, limit: float
) -> Iterator[tuple[int, int, float]]:
    """Gives the near pairs whose first scan is in a block, and whose second comes after it."""
    n = len(words["anterior"][1])
    total = np.zeros((min(stop, n) - start, n - start), dtype=np.int32)
    views = np.zeros_like(total)
    for codes, there in words.values():
        both = there[start:stop, None] & there[None, start:]
        for word in range(codes.shape[1]):
            total += both * np.bitwise_count(codes[start:stop, None, word] ^ codes[None, start:, word])
        views += both
    near = (views > 0) & (total <= limit * views)
    for a, b in np.argwhere(near):
        if b > a:
            yield start + int(a), start + int(b), float(total[a, b] / views[a, b])
