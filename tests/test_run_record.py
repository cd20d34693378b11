"""The run's record: what its schema refuses, and that all files are hashed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from fabricated_run import make_record

from bonescan_utils import provenance
from bonescan_utils.files import read_csv, read_json, write_csv, write_json
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import (
    faults_of,
    hash_files,
    manifest_path,
    read_record,
    recorded_sha256,
    seal_record,
    write_record,
)
from bonescan_utils.whereabouts import write_data_root


def changed(path: str, value: Any) -> dict[str, Any]:
    """Returns a sound record with one value set otherwise; a value of `...` removes it."""
    record = json.loads(json.dumps(make_record()))
    *way, last = path.split("/")
    at = record
    for key in way:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return record


def test_a_sound_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    assert read_record(tmp_path) == make_record() and faults_of(make_record()) == ""


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("environment", ..., "lacks environment"),
        ("record_version", 2, "record_version: 1 was expected"),
        ("status", "done", "status: 'done' is not one of"),
        ("config/seed", "7", "config/seed: '7' is not of type 'integer'"),
        ("manifest/sha256", "abc", "manifest/sha256: 'abc' does not match"),
        ("environment/versions/python", 3.11, "environment/versions/python"),
        ("environment/hardware/cores", ..., "'cores' is a required property"),
        ("environment/onednn", ..., "'onednn' is a required property"),
        ("environment/git/modified", ..., "'modified' is a dependency of 'revision'"),
        ("files", {"../x": {"bytes": 1, "sha256": "0" * 64}}, "files"),
        ("files", {"a.csv": {"bytes": -1, "sha256": "0" * 64}}, "files/a.csv/bytes"),
        ("parent", {"run": "x"}, "parent"),
    ],
)
def test_a_record_that_is_not_as_the_schema_wants_it(tmp_path: Path, path: str, value: Any, words: str) -> None:
    record = changed(path, value)
    with pytest.raises(RuntimeError, match=r"run\.json"):
        write_record(tmp_path, record)
    assert not (tmp_path / "run.json").exists()
    write_json(tmp_path / "run.json", record)
    with pytest.raises(StudyError) as caught:
        read_record(tmp_path)
    text = str(caught.value)
    assert words in text and "\n" not in text and len(text) <= 500 and "Run the study again" in text


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "null", "{}"])
def test_a_file_that_is_no_record_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StudyError, match=r"run\.json") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500


def test_every_file_but_hidden_ones_and_the_record_is_hashed(tmp_path: Path) -> None:
    names = ("a.csv", "models/m.keras", "tables/deep/t.csv")
    for name in (*names, ".lock", ".hidden/x", "run.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = hash_files(tmp_path)
    assert found == {name: {"bytes": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in names}


def test_the_files_of_the_scans_are_hashed(tmp_path: Path) -> None:
    run, root = tmp_path / "run", tmp_path / "data"
    root.mkdir()
    (root / "0007.dcm").write_text("one")
    (root / "=x.dcm").write_text("two")
    rows = [("s1", "0007.dcm", "0007.dcm"), ("s2", "", "=x.dcm"), ("s3", "absent.dcm", "")]
    write_csv(run / "cohort.csv", pd.DataFrame(rows, columns=["scan_id", "anterior", "posterior"]))
    seal_record(run, make_record(), root=root)
    found = read_csv(run / "inputs.csv", text=("file",))
    assert list(found["file"]) == ["0007.dcm", "=x.dcm"]
    assert list(found["sha256"]) == [hashlib.sha256(text).hexdigest() for text in (b"one", b"two")]
    assert "inputs.csv" in read_record(run)["files"]


def test_what_a_run_has_on_record_of_a_file(tmp_path: Path) -> None:
    for name, finished, sha in (("04", "2026-02-01", "b"), ("03", "2026-01-01", "a")):
        outputs = [{"path": "models/m.keras", "sha256": sha * 64}]
        write_json(tmp_path / "steps" / f"{name}.json", {"finished": finished, "outputs": outputs})
    assert recorded_sha256(tmp_path, "models/m.keras") == "b" * 64, "executed by hand: the last step that wrote it"
    assert recorded_sha256(tmp_path, "models/other.keras") == ""
    steps = [{"name": "03", "status": "done", "outputs": [{"path": "models/m.keras", "sha256": "c" * 64}]}]
    write_record(tmp_path, make_record(steps=steps))
    assert recorded_sha256(tmp_path, "models/m.keras") == "c" * 64
    files = {"models/m.keras": {"bytes": 1, "sha256": "d" * 64}}
    write_record(tmp_path, make_record(steps=steps, files=files))
    assert recorded_sha256(tmp_path, "models/m.keras") == "d" * 64


def test_the_manifest_is_looked_for_relative_to_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "run"
    assert manifest_path(folder, make_record()) == tmp_path / "m.csv", "not known: that of the project"
    write_data_root(folder, tmp_path / "cohort" / "m.csv")
    assert manifest_path(folder, make_record()) == tmp_path / "cohort" / "m.csv"
    (tmp_path / "reports").rename(tmp_path / "moved")
    assert manifest_path(tmp_path / "moved" / "run", make_record()) == tmp_path / "cohort" / "m.csv"


def test_p20_the_record_names_versions_seed_data_code_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    found = provenance.environment(Path(__file__).parent)
    assert set(provenance.DECISIVE) < set(found["versions"]) and found["versions"]["numpy"]
    assert found["onednn"]["setting"] == "0" and found["hardware"]["cores"] >= 1
    assert len(found["code_sha256"]) == 64 and set(found["git"]) in ({"revision", "modified"}, set())
    assert faults_of(make_record(environment=found)) == ""
    schema = read_json(Path(provenance.__file__).parent / "assets" / "run.schema.json")
    for part in ("config", "manifest", "environment", "weights", "parent", "steps"):
        assert part in schema["required"]


def test_onednn_in_use_is_told_where_tensorflow_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    port = SimpleNamespace(IsMklEnabled=lambda: 1)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "tensorflow.python", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "tensorflow.python.util", SimpleNamespace(_pywrap_util_port=port))
    assert provenance.onednn()["in_use"] is True
