"""Long tables: the same bytes as a table that is written at once, and the same cells when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonescan_utils.files import CsvError, read_text_csv, write_csv
from bonescan_utils.ingest.outcome import check_target
from bonescan_utils.long_tables import read_rows, write_rows
from bonescan_utils.manifest import write_manifest_rows
from bonescan_utils.manifest_rules import COLUMNS
from bonescan_utils.problems import ManifestError

CELL = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(
    ["=1+1", "'@x", "-5", 'a"b', "전이"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_rows_are_written_and_read_as_a_table_is(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("t")
    assert write_rows(folder / "rows.csv", ["a", "b"], rows) == len(rows)
    table = pd.DataFrame(rows, columns=["a", "b"], dtype="str")
    if not any("\r" in cell for row in rows for cell in row):  # one such cell quotes its row, or the whole table
        write_csv(folder / "table.csv", table)
        assert (folder / "rows.csv").read_bytes() == (folder / "table.csv").read_bytes()
    assert list(read_rows(folder / "rows.csv")) == read_text_csv(folder / "rows.csv").to_dict("records")
    assert [tuple(row.values()) for row in read_rows(folder / "rows.csv")] == rows


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_rows(path, ["a"], [["1"]])

    def failing() -> Iterator[list[str]]:
        yield ["2"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, ["a"], failing())
    with pytest.raises(ValueError, match="row 2 has 2 cells; expected 1"):
        write_rows(path, ["a"], [["2"], ["3", "4"]])
    assert path.read_text() == "a\n1\n" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"a,b\n1\n", "line 2: 1 fields where the header has 2"), (b"a\n\xff\n", "UTF-8"), (b'a\n"x\n', "line")],
)
def test_a_table_that_cannot_be_read_is_told_with_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CsvError, match=says):
        list(read_rows(tmp_path / "t.csv"))


def test_a_manifest_of_rows_is_checked_and_written_whole_or_not_at_all(tmp_path: Path) -> None:
    rows = [dict.fromkeys(COLUMNS) | {"scan_id": f"s{at}", "patient_id": "P", "anterior": f"{at}.png"} for at in (1, 2)]
    assert write_manifest_rows(tmp_path / "m.csv", COLUMNS, rows) == 2
    before = (tmp_path / "m.csv").read_bytes()
    with pytest.raises(ManifestError, match=r"line 3.*column age.*'999'"):
        write_manifest_rows(tmp_path / "m.csv", COLUMNS, [rows[0], rows[1] | {"age": 999.0}])
    assert (tmp_path / "m.csv").read_bytes() == before
    check_target(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="worked on"):
        check_target(tmp_path / "m.csv", columns=("anterior",))
