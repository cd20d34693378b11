"""Models are programs: what is checked before one is opened, and calls that appear nowhere in the project."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fabricated_run import make_record, put_model
from hypothesis import given, settings
from hypothesis import strategies as st

import bonescan_utils
from bonescan_utils.files import write_csv, write_json
from bonescan_utils.model_record import ModelError, check_archive, model_record
from bonescan_utils.run_model import find_model

ROOT = Path(bonescan_utils.__file__).parents[1]
NAME = "models/proposed.keras"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one model on record."""
    folder = tmp_path / "run"
    files = {NAME: put_model(folder / NAME)}
    scores = pd.DataFrame({"partition": ["tuning"] * 2, "y_true": [0, 1], "y_score": [0.2, 0.8]})
    write_csv(folder / "arms" / "proposed" / "predictions.csv", scores.assign(scan_id=["a", "b"]))
    write_json(folder / "run.json", make_record(files=files))
    return folder


def refused(run: Path, *words: str, **more: Any) -> None:
    with pytest.raises(ModelError) as caught:
        find_model("proposed", run, **more)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_p16_the_model_on_record_is_taken_without_an_override(run: Path) -> None:
    assert find_model("proposed", run, trust="not needed").override == {}


def test_p16_a_tampered_or_truncated_model_is_refused_and_no_reason_helps(run: Path) -> None:
    whole = (run / NAME).read_bytes()
    for data in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"x"):
        (run / NAME).write_bytes(data)
        refused(run, "sha256", "its record says", "damaged", trust="I know this file")


def test_p16_a_truncated_archive_is_refused_also_where_its_hash_is_on_record(run: Path) -> None:
    (run / NAME).write_bytes((run / NAME).read_bytes()[:60])
    put_hash(run)
    refused(run, "not a trusted model", "no whole archive")


def put_hash(run: Path) -> None:
    """Writes the hash of the file as it is into the record beside it and into that of the run."""
    from bonescan_utils.run_record import hash_files

    write_json((run / NAME).with_suffix(".json"), {"sha256": hash_files(run)[NAME]["sha256"]})
    write_json(run / "run.json", make_record(files=hash_files(run)))


def test_p16_a_foreign_model_needs_a_reason_which_is_kept(run: Path) -> None:
    before = model_record(run / NAME)["sha256"]
    found = put_model(run / NAME, config={"other": 1})
    refused(
        run, "not a trusted model of run run", f"expected sha256 {before}, found {found['sha256']}", "--trust-model"
    )
    taken = find_model("proposed", run, trust="retrained by us, see log 12")
    assert taken.override == {"reason": "retrained by us, see log 12", "recorded_sha256": before}
    write_json(run / "run.json", make_record(files={}))
    refused(run, "the run has no such file on record")


@pytest.mark.parametrize(
    "part",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {}},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        {"module": "os", "class_name": "system"},
        {"module": "keras_evil.layers", "class_name": "Dense"},
        {"class_name": "__lambda__", "config": {"value": "4wEA"}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}},
    ],
)
def test_p16_code_in_a_model_is_refused_also_with_a_reason(run: Path, part: dict[str, Any]) -> None:
    config = {"module": "keras", "class_name": "Functional", "config": {"layers": [{"a": [part]}]}}
    put_model(run / NAME, config=config)
    put_hash(run)
    refused(run, "may run code of the file", str(part["class_name"]), trust="I wrote it")


def test_p16_an_archive_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    put_model(tmp_path / "a.keras", **{"assets/x.py": b"import os"})
    with pytest.raises(ModelError, match=r"it holds assets/x\.py, config\.json"):
        check_archive(tmp_path / "a.keras")


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.pb", "a.zip", "a"])
def test_p16_only_keras_files_are_taken(tmp_path: Path, name: str) -> None:
    put_model(tmp_path / name)
    with pytest.raises(ModelError, match=r"not a trusted model; expected a \.keras file"):
        model_record(tmp_path / name)


def test_p16_hdf5_under_the_name_of_a_keras_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(ModelError, match="no whole archive"):
        check_archive(tmp_path / "a.keras")


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_p16_whatever_the_bytes_the_error_is_ours(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.keras"
    put_model(path, config={"class_name": "Functional", "module": "keras"})
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        check_archive(path)
    except ModelError as error:
        assert "\n" not in str(error)


# ------------------------------------------------------------------------------------------ lint
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_NAMES = {"enable_unsafe_deserialization", "read_pickle", "to_pickle", "unsafe_load", "full_load", "load_all"}


def faults(source: str, *, loads_models: bool = False) -> list[str]:
    """Returns the forbidden calls and imports of a piece of Python."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in modules if name.split(".")[0] in FORBIDDEN_IMPORTS]
            names = {alias.name for alias in node.names}
            found += [f"joblib.{name}" for name in names & {"load", "dump"} if modules == ["joblib"]]
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_NAMES:
            found.append(node.attr)
        if isinstance(node, ast.Call):
            found += _call_faults(node, loads_models)
    return found


def _call_faults(call: ast.Call, loads_models: bool) -> list[str]:
    name = ast.unparse(call.func)
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
        return [f"{name} without allow_pickle=False"]
    if name == "yaml.load" and given.get("Loader") not in ("_PlainLoader", "yaml.SafeLoader"):
        return ["yaml.load with another loader"]
    if name.endswith("models.load_model") and not (loads_models and given.get("safe_mode") == "True"):
        return [name]
    if given.get("safe_mode") == "False" or name in ("joblib.load", "joblib.dump", "eval", "exec"):
        return [name]
    return []


def test_p16_no_forbidden_call_in_package_scripts_or_notebooks() -> None:
    files = [*(ROOT / "bonescan_utils").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    assert len(files) > 150
    found = {
        path.name: bad
        for path in files
        if (bad := faults(path.read_text(encoding="utf-8"), loads_models=path.name == "models.py"))
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found |= {path.name: faults(source)} if faults(source) else {}
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "from joblib import load", "import numpy as np\nnp.load(x)",
        "np.load(x, allow_pickle=True)", "yaml.load(x)", "yaml.load(x, Loader=yaml.Loader)", "yaml.unsafe_load(x)",
        "keras.models.load_model(x)", "tf.keras.models.load_model(x, safe_mode=True)", "f(x, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()", "eval(x)", "pd.read_pickle(x)",
    ],
)  # fmt: skip
def test_the_lint_sees_each_forbidden_call(source: str) -> None:
    assert faults(source)
