"""The RO-Crate of a run, against the rules of the specification (https://w3id.org/ro/crate/1.1), read as plain JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fabricated_run import SHA, make_record, make_run

from bonescan_utils import cli
from bonescan_utils.crate import archive_run
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import seal_record

LICENCE = "https://creativecommons.org/licenses/by/4.0/"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sealed run of one notebook."""
    outputs = [{"path": name, "rows": None, "sha256": SHA} for name in ("figures/montage.png", "store")]
    step = {
        "name": "01_cohort", "status": "done", "finished": "2026-01-02T03:02:00+00:00", "seconds": 3.0,
        "parameters": {"seed": 7, "rules": []}, "outputs": outputs,
    }  # fmt: skip
    record = make_record(steps=[step, {"name": "02_x", "status": "not done"}])
    folder = make_run(tmp_path / "run", **record)
    for name in ("notebooks/01_cohort.ipynb", "models/a.keras", "store/images.npy", "features/x.npy", "a b#é.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    seal_record(folder, record, root=tmp_path)
    return folder


def graph_of(out: Path) -> dict[str, dict[str, Any]]:
    """Returns the entities of a crate by their `@id`, each once."""
    document = json.loads((out / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert "https://w3id.org/ro/crate/1.1/context" in document["@context"]
    assert {"sha256": "https://schema.org/sha256"} in document["@context"]
    ids = [entity["@id"] for entity in document["@graph"]]
    assert len(ids) == len(set(ids))
    return {entity["@id"]: entity for entity in document["@graph"]}


def references(value: Any) -> list[str]:
    """Returns every `@id` that an entity's properties point to."""
    if isinstance(value, dict):
        return [value["@id"]]
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


def test_a_crate_keeps_the_rules_of_the_specification(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("rocrate")
    n = archive_run(run, tmp_path / "crate", licence=LICENCE)
    graph = graph_of(tmp_path / "crate")
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset" and root["name"] and root["description"] and root["license"]
    assert root["datePublished"].startswith("2026-01-02T03:04:05")
    for entity in graph.values():
        assert entity["@id"] and entity["@type"]
        for key, value in entity.items():
            dangling = [ref for ref in references(value) if ref not in graph and not ref.startswith("https://")]
            assert not dangling or key == "license", (entity["@id"], key, dangling)
    files = [entity for entity in graph.values() if "File" in entity["@type"]]
    assert len(files) == n == len(root["hasPart"])
    on_disk = {path for path in (tmp_path / "crate").rglob("*") if path.is_file()}
    assert len(on_disk) == n + 1, "every file is described, and none else is there"


def test_each_file_is_there_with_its_hash_and_size(run: Path, tmp_path: Path) -> None:
    from urllib.parse import unquote

    pytest.importorskip("rocrate")
    archive_run(run, tmp_path / "crate")
    for entity in graph_of(tmp_path / "crate").values():
        if "File" in entity["@type"]:
            data = (tmp_path / "crate" / unquote(entity["@id"])).read_bytes()
            assert entity["sha256"] == hashlib.sha256(data).hexdigest() and entity["contentSize"] == str(len(data))
            assert "/" in entity["encodingFormat"] and data == (run / unquote(entity["@id"])).read_bytes()


def test_a_notebook_is_an_action_with_its_parameters_and_results(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("rocrate")
    archive_run(run, tmp_path / "crate")
    graph = graph_of(tmp_path / "crate")
    assert graph["./"]["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    (action,) = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    instrument = graph[action["instrument"]["@id"]]
    assert instrument["@type"] == ["File", "SoftwareSourceCode"] and instrument["name"] == "notebooks/01_cohort.ipynb"
    assert references(action["result"]) == ["figures/montage.png"], "the image store stays behind"
    given = {graph[ref].get("name"): graph[ref].get("value") for ref in references(action["object"])}
    assert given["seed"] == "7" and given["rules"] == "[]" and "m.csv" in given
    software = graph[references(instrument["softwareRequirements"])[0]]
    assert software["@type"] == "SoftwareApplication" and software["softwareVersion"] == "a" * 40


def test_pixels_and_activations_of_scans_stay_behind(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("rocrate")
    archive_run(run, tmp_path / "crate")
    assert not (tmp_path / "crate" / "store").exists() and not (tmp_path / "crate" / "features").exists()
    assert (tmp_path / "crate" / "run.json").exists() and (tmp_path / "crate" / "models" / "a.keras").exists()


def test_a_run_that_was_changed_is_not_archived(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rocrate")
    (run / "models" / "a.keras").write_text("other")
    assert cli.main(["archive", str(run), "--out", str(tmp_path / "crate")]) == 2
    said = capsys.readouterr().err
    assert "models/a.keras" in said and "bonescan verify" in said and not (tmp_path / "crate").exists()


def test_a_folder_with_files_is_left_alone(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("rocrate")
    with pytest.raises(StudyError, match="expected a new or an empty folder"):
        archive_run(run, run)


def test_the_extra_is_named_where_the_package_is_not_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rocrate.rocrate", None)
    with pytest.raises(StudyError, match=r"extra 'archive': pip install -e '\.\[archive\]'"):
        archive_run(run, tmp_path / "crate")
