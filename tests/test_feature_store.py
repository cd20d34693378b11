"""Shards on disk: whole or computed again, and read back row by row as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonescan_utils.feature_store import Block, Part, Shelf, evict, row_digests

VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)


KEY = {"pooled": "avg"}
ROWS = [f"image {at}" for at in range(6)]


def shelf(folder: Path, key: dict | None = None, said: list[str] | None = None) -> Shelf:
    return Shelf(folder, "vgg16", key or KEY, say=([] if said is None else said).append)


def write(folder: Path, *, key: dict | None = None, values: np.ndarray = VALUES, rows: list[str] = ROWS) -> Path:
    def compute(missing: np.ndarray):
        yield from (values[missing[at : at + 4]] for at in range(0, len(missing), 4))

    made = shelf(folder, key)
    made.write(rows, compute, values.shape[1:])
    return made.path(rows)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data())
def test_rows_of_parts_are_rows_of_one_array(sizes: list[int], data: st.DataObject) -> None:
    whole = np.random.default_rng(0).normal(size=(sum(sizes), 3)).astype(np.float32)
    ends = np.cumsum(sizes)
    block = Block(tuple(Part(whole[e - n : e] / 2, 2.0) for n, e in zip(sizes, ends, strict=True)))
    rows = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=12)), int)
    assert len(block) == len(whole)
    np.testing.assert_array_equal(block.take(rows), whole[rows])
    np.testing.assert_array_equal(block.take(slice(1, 4)), whole[1:4])


def test_a_shard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path)
    part = shelf(tmp_path).open(ROWS)
    assert part is not None
    np.testing.assert_array_equal(part.values, VALUES)


def damage_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def other_scale(path: Path) -> None:
    about = path.with_suffix(".json")
    about.write_text(about.read_text().replace('"scale": 1.0', '"scale": 2.0'))


def forget_sha(path: Path) -> None:
    about = path.with_suffix(".json")
    about.write_text(json.dumps({"scale": 1.0}))


@pytest.mark.parametrize(
    "harm",
    [
        damage_bytes,
        other_scale,
        forget_sha,
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
    ],
    ids="bit_flipped record_flipped record_of_another cut_short empty gone record_gone record_cut_short".split(),
)
def test_a_shard_that_is_not_whole_is_not_opened(tmp_path: Path, harm) -> None:
    path, said = write(tmp_path), []
    harm(path)
    assert shelf(tmp_path, said=said).open(ROWS) is None
    assert len(said) == 1 and said[0].startswith(f"{path.name} is cut short or damaged (") and len(said[0]) < 300
    assert str(tmp_path) not in said[0]
    write(tmp_path)
    np.testing.assert_array_equal(shelf(tmp_path).open(ROWS).values, VALUES)


def test_a_shard_that_was_never_there_is_no_damage(tmp_path: Path) -> None:
    said: list[str] = []
    assert shelf(tmp_path, said=said).open(ROWS) is None and said == []


def test_images_in_any_shard_are_not_computed_again(tmp_path: Path) -> None:
    write(tmp_path)
    rows, asked = [ROWS[4], "new a", ROWS[0], "new b"], []

    def compute(missing: np.ndarray):
        asked.append(missing.tolist())
        yield np.full((len(missing), 4), -1, np.float32) * (missing[:, None] + 1)

    part = shelf(tmp_path).write(rows, compute, (4,))
    assert asked == [[1, 3]]
    np.testing.assert_array_equal(part.values, [VALUES[4], [-2] * 4, VALUES[0], [-4] * 4])


def test_damaged_or_foreign_shards_give_no_rows(tmp_path: Path) -> None:
    damage_bytes(write(tmp_path))
    asked = []

    def compute(missing: np.ndarray):
        asked.append(len(missing))
        yield np.zeros((len(missing), 4), np.float32)

    shelf(tmp_path).write(ROWS[:2], compute, (4,))
    shelf(tmp_path, {"pooled": "max"}).write(ROWS[:3], compute, (4,))
    assert asked == [2, 3]


def test_activations_taken_over_keep_their_values(tmp_path: Path) -> None:
    """float16 under another scale: the values of the old shard come back unchanged."""
    values = (np.arange(1, 7, dtype=np.float32) * 1000)[:, None, None, None] * np.ones((1, 2, 2, 3), np.float32)
    write(tmp_path, key={"cut": "x"}, values=values)

    def compute(missing: np.ndarray):
        yield np.full((len(missing), 2, 2, 3), 0.001, np.float32)

    part = shelf(tmp_path, {"cut": "x"}).write(["new", *ROWS[2:]], compute, (2, 2, 3))
    block = Block((part,)).take(slice(0, 5))
    np.testing.assert_allclose(block[1:], values[2:], rtol=2**-10)
    assert block[0] == pytest.approx(0.001, rel=1e-2)


@given(st.integers(1, 4), st.integers(1, 4))
def test_a_digest_is_of_one_image_and_its_size(height: int, width: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)
    first = row_digests(images)
    assert first[1:] == row_digests(images[1:]) and len(set(row_digests(images.reshape(3, 1, -1))) | set(first)) >= 3


def test_eviction_frees_activations_and_keeps_pooled_features(tmp_path: Path) -> None:
    pooled = write(tmp_path)
    activations = write(tmp_path, key={"cut": "block4_pool"}, values=np.ones((6, 2, 2, 3), np.float32))
    size = activations.stat().st_size
    assert evict(tmp_path) == size
    assert pooled.exists() and shelf(tmp_path).open(ROWS) is not None
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]
    assert evict(tmp_path) == 0


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux to look at resident pages")
def test_rows_that_were_read_do_not_stay_resident(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    np.save(path, np.random.default_rng(0).random((64, 16, 16, 64)).astype(np.float16))
    block = Block((Part(np.load(path, mmap_mode="r")),))
    first = block.take(np.arange(64))
    assert resident_kilobytes(path) < 0.1 * path.stat().st_size / 1024
    np.testing.assert_array_equal(block.take(np.arange(64)), first)


def resident_kilobytes(path: Path) -> int:
    """Pages of a mapped file in this process."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found
