"""Files: whole or not at all; text stays text; one reader."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.files import (
    CsvError,
    free_bytes,
    read_csv,
    read_json,
    read_text_csv,
    safe_text,
    sha256_file,
    write_atomic,
    write_csv,
    write_json,
    write_text,
)


def test_write_atomic_replaces_whole_and_makes_parents(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "x.weights.h5"
    with write_atomic(target) as temporary:
        assert temporary.parent == target.parent and temporary.name.endswith(".weights.h5")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["x.weights.h5"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_write_atomic_keeps_the_old_file_on_any_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(error), write_atomic(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), write_atomic(target):
        pass
    assert target.read_text() == "old"


def test_a_full_disk_is_told_with_path_and_room_and_the_old_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with (
        pytest.raises(OSError, match=r"no room to write it \([0-9,]+ bytes free\)") as caught,
        write_atomic(target),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from bonescan_utils.files import write_text\n"
        "try: write_text(sys.argv[1], 'x' * 100_000)\n"
        "except OSError as error: sys.exit(0 if 'no room' in str(error) else 3)"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == 0
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_write_json_takes_numpy_and_paths_and_keeps_order(tmp_path: Path) -> None:
    obj = {
        "z": np.float32(0.5),
        "a": np.int64(3),
        "n": float("nan"),
        "p": Path("x"),
        "l": (np.arange(2), True),
    }
    write_json(tmp_path / "x.json", obj)
    text = (tmp_path / "x.json").read_text()
    assert list(json.loads(text)) == ["z", "a", "n", "p", "l"]
    assert read_json(tmp_path / "x.json") == {"z": 0.5, "a": 3, "n": None, "p": "x", "l": [[0, 1], True]}


def test_a_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1')
    with pytest.raises(ValueError, match=r"x\.json: not a JSON file"):
        read_json(tmp_path / "x.json")


def test_csv_keeps_types_and_ids(tmp_path: Path) -> None:
    df = pd.DataFrame(
        {
            "scan_id": ["0007", "1e5", "NA"],
            "metric": ["1", "2", "3"],
            "n": [1, 2, 3],
            "x": [0.1, np.nan, 1e-300],
            "code7": ["007", "8", "9"],
            "ok": [True, False, True],
            "note": ["", "", ""],
        }
    )
    write_csv(tmp_path / "x.csv", df)
    back = read_csv(tmp_path / "x.csv")
    assert back["scan_id"].tolist() == ["0007", "1e5", "NA"]
    assert back["metric"].tolist() == ["1", "2", "3"]
    assert back["code7"].tolist() == ["007", "8", "9"]
    assert back["note"].tolist() == ["", "", ""]
    assert (back["n"].dtype, back["x"].dtype, back["ok"].dtype) == (np.int64, np.float64, np.bool_)
    np.testing.assert_array_equal(back["x"], df["x"])


def test_columns_can_be_named_text_or_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", pd.DataFrame({"a": [1, 2], "b": ["", ""]}))
    back = read_csv(tmp_path / "x.csv", text=["a"], numbers=["b"])
    assert back["a"].tolist() == ["1", "2"]
    assert back["b"].dtype == np.float64 and back["b"].isna().all()
    with pytest.raises(CsvError, match="column c: expected numbers"):
        write_csv(tmp_path / "y.csv", pd.DataFrame({"c": ["1", "x"]}))
        read_csv(tmp_path / "y.csv", numbers=["c"])


def test_formulas_are_inert_on_disk_and_restored_on_reading(tmp_path: Path) -> None:
    cells = ["=1+1", "+x", "-x", "@x", "\tx", "'=x", "''-x", "plain", "-5", "it's"]
    write_csv(tmp_path / "x.csv", pd.DataFrame({"scan_id": cells}))
    raw = (tmp_path / "x.csv").read_text().splitlines()[1:]
    assert not [line for line in raw if line.lstrip('"')[0] in "=+@\t" or line.startswith("-x")]
    assert read_csv(tmp_path / "x.csv")["scan_id"].tolist() == cells


def test_csv_is_plain_utf8_with_newlines_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    df = pd.DataFrame({"a": ["ä", "전이"], "b": [0.1, 1 / 3]})
    for name in ("x.csv", "y.csv"):
        write_csv(tmp_path / name, df)
    data = (tmp_path / "x.csv").read_bytes()
    assert data == "a,b\nä,0.1\n전이,0.3333333333333333\n".encode()
    assert data == (tmp_path / "y.csv").read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"a,b\n1,2,3\n", "3 fields where the header has 2 (line 2)"),
        (b"a,b\n1\n", "1 fields"),
        (b'a,b\n1,"x\n', "quote"),
        (b"a,a\n1,2\n", "'a' appears twice"),
        ("a,b\n전이,1\n".encode("cp949"), "line 2: not UTF-8"),
        (b"a,b\n" + b"1,2,3\n" * 9, "and 4 more"),
    ],
)
def test_a_table_that_is_not_one_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(CsvError) as caught:
        read_csv(path)
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_absent_and_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match="no such file"):
        read_csv(tmp_path / "x.csv")
    with pytest.raises(CsvError, match="not a file"):
        read_csv(tmp_path)


def test_byte_order_mark_crlf_and_quoted_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'\xef\xbb\xbfa,b\r\n"1\r\n2",x\r\n3,y\x0cz\r\n')
    assert read_text_csv(tmp_path / "x.csv").to_numpy().tolist() == [["1\r\n2", "x"], ["3", "y\x0cz"]]


ids = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(ids | st.sampled_from(["0007", "1e5", "NA", "null", "=1", "'", "'=", "-3", "1.0"]), min_size=1))
def test_ids_survive_write_and_read(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    write_csv(path, pd.DataFrame({"patient_id": cells, "n": range(len(cells))}, dtype=object))
    assert read_csv(path)["patient_id"].tolist() == cells
    assert read_text_csv(path)["patient_id"].tolist() == cells


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_floats_survive_exactly(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    write_csv(path, pd.DataFrame({"x": values}))
    np.testing.assert_array_equal(read_csv(path)["x"].to_numpy(dtype=float), values)


def test_hash_and_room(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_safe_text_is_one_inert_line() -> None:
    assert safe_text("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"
    assert len(safe_text("x" * 999)) == 120


def test_the_package_and_its_files_load_without_heavy_libraries() -> None:
    code = (
        "import bonescan_utils, bonescan_utils.files, bonescan_utils.scan, sys;"
        "sys.exit(bool({'tensorflow', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
