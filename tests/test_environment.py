"""The files that make the environment say the same: pyproject.toml, requirements.txt, environment.yml."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.txt").read_text()
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def locked() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", LOCK, re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def setup_env() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "scripts" / "setup_env.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_environment_yml_agrees_with_pyproject() -> None:
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert wanted[0] == f"python{PROJECT['requires-python']}" and wanted[1] == "pip"
    (pip,) = [item["pip"] for item in wanted if isinstance(item, dict)]
    assert pip == ["-e .[dev]"] and "dev" in PROJECT["optional-dependencies"]


def test_the_lock_covers_every_dependency_within_its_bounds() -> None:
    packaging = pytest.importorskip("packaging.requirements")
    versions = locked()
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        requirement = packaging.Requirement(text)
        found = versions.get(requirement.name.lower(), [])
        assert found, f"{requirement.name} is not in requirements.txt"
        assert all(requirement.specifier.contains(version) for version in found), (text, found)


def test_every_pin_has_hashes_and_no_address_is_written() -> None:
    blocks = re.split(r"^(?=[a-z0-9.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) > 100 and all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|--index|--extra-index|--find-links", LOCK)


def test_every_dependency_is_bounded_above() -> None:
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        assert "<" in text, text


def test_gpu_extra_is_for_linux_with_a_lower_bound() -> None:
    (gpu,) = PROJECT["optional-dependencies"]["gpu"]
    assert "tensorflow[and-cuda]>=" in gpu and "sys_platform == 'linux'" in gpu and "x86_64" in gpu


def test_tensorflow_of_gpu_and_core_agree() -> None:
    (core,) = [text for text in PROJECT["dependencies"] if text.startswith("tensorflow")]
    (gpu,) = PROJECT["optional-dependencies"]["gpu"]
    assert core.removeprefix("tensorflow") == gpu.split(";")[0].removeprefix("tensorflow[and-cuda]").strip()


def test_setup_hands_the_users_own_index_to_uv() -> None:
    settings = setup_env().uv_settings
    assert settings({}, "mirror.example/simple")["UV_DEFAULT_INDEX"] == "mirror.example/simple"
    assert "UV_DEFAULT_INDEX" not in settings({"UV_INDEX_URL": "own"}, "mirror.example/simple")
    assert "UV_DEFAULT_INDEX" not in settings({}, "")


def test_setup_fingerprint_follows_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = setup_env()
    for name in ("requirements.txt", "pyproject.toml", "scripts/setup_env.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    before = module.fingerprint()
    assert module.fingerprint() == before
    (tmp_path / "requirements.txt").write_text("two")
    assert module.fingerprint() != before


@needs_make
def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE)
    assert {"setup", "study", "quick", "full", "test", "lab", "lint", "clean", "help"} <= set(targets)


@needs_make
def test_make_names_the_pythons_it_needs() -> None:
    command = ["make", "setup", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "3.11, 3.12 or 3.13" in done.stderr


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import bonescan_utils; import bonescan_utils.cli;"
        "print(time.perf_counter() - t, 'numpy' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, numpy, tensorflow = done.stdout.split()
    assert float(seconds) < 0.3 and (numpy, tensorflow) == ("False", "False")


LIGHT = (
    "manifest scan dicom images phantom preprocessing cohort evaluation figures tables study profiles runner"
    " arms weights lesions report run_model finding results predict pacs sanity burden"
).split()


def test_light_rooms_do_not_import_tensorflow() -> None:
    code = f"import sys\nfor name in {LIGHT!r}: __import__('bonescan_utils.' + name)\n"
    code += "print([name for name in ('tensorflow', 'keras', 'papermill') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr[-500:]
