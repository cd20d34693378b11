"""The form of the notebooks: what a reader may rely on, and what must never reach git."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import papermill
import pytest

from bonescan_utils.profiles import StudyConfig, make_config, notebook_parameters

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["01_cohort", "02_preprocessing", "03_vgg16_transfer", "04_backbone_comparison", "05_grad_cam"]
LITERALS = (ast.Constant, ast.List, ast.UnaryOp)

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "") -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if not kind or cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def parameters_cell(path: Path) -> str:
    (found,) = [c for c in cells(path, "code") if "parameters" in c["metadata"].get("tags", [])]
    return source(found)


def test_there_are_five() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


@each
def test_no_output_is_kept(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert set(json.loads(path.read_text())["metadata"]) == {"kernelspec"}
    assert all(set(cell["metadata"]) <= {"tags"} for cell in cells(path))


@each
def test_ids_are_stable_words(path: Path) -> None:
    ids = [cell["id"] for cell in cells(path)]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-z][a-z-]+", name) for name in ids)


@each
def test_it_begins_with_title_question_and_files(path: Path) -> None:
    first = cells(path)[0]
    assert first["cell_type"] == "markdown" and source(first).startswith(f"# {path.stem[:2]} ")
    assert all(word in source(first) for word in ("**Question.**", "**In:**", "**Out:**"))


@each
def test_parameters_are_typed_literals_with_a_comment(path: Path) -> None:
    text = parameters_cell(path)
    for line, statement in zip(text.splitlines(), ast.parse(text).body, strict=True):
        assert isinstance(statement, ast.AnnAssign) and isinstance(statement.value, LITERALS), line
        assert re.search(r"  # \w", line), f"no comment: {line}"
    assert set(papermill.inspect_notebook(str(path))) <= {*StudyConfig.model_fields, "run_dir"}


@each
def test_parameters_are_those_of_the_study(path: Path) -> None:
    config = make_config("study", {"run": "by_hand", "manifest": ROOT / "data_manifest.csv"})
    passed = notebook_parameters(path, config, run_dir=ROOT / "reports" / "by_hand")
    given = {s.target.id: ast.literal_eval(s.value) for s in ast.parse(parameters_cell(path)).body}  # type: ignore
    assert given == passed, "Run All by hand must do what `bonescan run --profile study` does"


@each
def test_a_cell_is_one_thought(path: Path) -> None:
    code = [source(cell) for cell in cells(path, "code")]
    assert len(code) <= 25
    for text in code:
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= 10 or text == parameters_cell(path), text
        for node in ast.walk(ast.parse(text)):
            banned = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Lambda, ast.ListComp, ast.Try)
            assert not isinstance(node, banned), text


@each
def test_text_leads_the_code(path: Path) -> None:
    kinds = "".join(cell["cell_type"][0] for cell in cells(path))
    assert kinds.count("m") >= 0.8 * kinds.count("c") and "ccc" not in kinds
    assert all(source(cell).strip() for cell in cells(path))


@each
def test_imports_are_in_one_cell_and_the_last_cell_lists_what_was_written(path: Path) -> None:
    code = [source(cell) for cell in cells(path, "code")]
    importing = [n for n, text in enumerate(code) if re.search(r"^(import|from) ", text, re.MULTILINE)]
    assert importing == [1] and f'"{path.stem}"' in code[1]
    assert code[-1].startswith("run.finish(")
    assert "## What this notebook wrote" in source(cells(path, "markdown")[-1])


@each
def test_nothing_points_outside(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|/home/|/Users/|[A-Z]:\\\\", text)
