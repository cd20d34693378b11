"""Make .venv with the locked packages and this project in it. Standard library only.

    python3 scripts/setup_env.py

Every file is checked against a hash in requirements.txt. The packages come from the index that the user's own
pip or uv settings name; this project names none. A second call on an unchanged tree returns at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "setup.stamp"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
SUPPORTED = ((3, 11), (3, 14))


def main() -> int:
    """Build or refresh .venv; return the exit code."""
    if not SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]:
        return _fail(f"Python 3.11, 3.12 or 3.13 is needed, this is {sys.version.split()[0]} ({sys.executable}).")
    wanted = fingerprint()
    if STAMP.is_file() and STAMP.read_text().strip() == wanted and PYTHON.exists():
        return 0
    started = time.monotonic()
    print(f"Setting up {VENV.name} with Python {sys.version.split()[0]} (about 2.5 GB; once) ...", flush=True)
    STAMP.unlink(missing_ok=True)
    try:
        _make_venv()
        _install()
    except subprocess.CalledProcessError as error:
        return _fail(f"This step failed (exit code {error.returncode}): {_shown(error.cmd)}")
    STAMP.write_text(wanted + "\n")
    print(f"{VENV.name} is ready ({time.monotonic() - started:.0f} s).", flush=True)
    return 0


def fingerprint() -> str:
    """Return a hash of all that decides what is in .venv."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.platform} {ROOT}".encode())
    for name in ("requirements.txt", "pyproject.toml", "scripts/setup_env.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def uv_settings(environ: dict[str, str], pip_index: str) -> dict[str, str]:
    """Return the environment for uv: it does not read pip's settings, so the user's mirror is handed on.

    Args:
        environ: The present environment.
        pip_index: The index that pip is configured to use, or "".
    """
    env = dict(environ)
    env.setdefault("UV_LINK_MODE", "copy" if os.name == "nt" else "hardlink")
    if "SSL_CERT_FILE" not in env and env.get("PIP_CERT"):
        env["SSL_CERT_FILE"] = env["PIP_CERT"]
    own = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"}
    if pip_index and not own & env.keys():
        env["UV_DEFAULT_INDEX"] = pip_index
    return env


def _make_venv() -> None:
    """Create .venv, or keep one whose Python still runs and has the same version."""
    if PYTHON.exists():
        check = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
        if subprocess.run([str(PYTHON), "-c", check], capture_output=True, check=False).returncode == 0:
            return
    shutil.rmtree(VENV, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if done.returncode:
        print((done.stdout + done.stderr).strip(), file=sys.stderr)
        hint = "On Debian and Ubuntu: apt install python3-venv."
        print(f"{sys.executable} cannot make a virtual environment. {hint}", file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, done.args)


def _install() -> None:
    """Install the locked packages with uv where it can be had, else with pip; then the project itself."""
    locked = ["--require-hashes", "-r", str(ROOT / "requirements.txt")]
    uv = BIN / ("uv.exe" if os.name == "nt" else "uv")
    got_uv = subprocess.run(
        [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.8,<1"],
        check=False,
    )
    env = uv_settings(dict(os.environ), _pip_index())
    fast = [str(uv), "pip", "install", "--python", str(PYTHON), *locked]
    if got_uv.returncode or subprocess.run(fast, env=env, cwd=ROOT, check=False).returncode:
        print("uv could not install the packages; trying pip (slower) ...", flush=True)
        _pip("install", *locked)
    # The build backend, setuptools, is itself among the locked packages: nothing unlocked is fetched here.
    _pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT))


def _pip(*arguments: str) -> None:
    """Run pip of .venv; raise CalledProcessError when it fails."""
    subprocess.run([str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments], cwd=ROOT, check=True)


def _pip_index() -> str:
    """Return the index that the user's pip settings name, or ""."""
    for name in ("global.index-url", "install.index-url"):
        command = [str(PYTHON), "-m", "pip", "config", "get", name]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    return os.environ.get("PIP_INDEX_URL", "")


def _shown(command: object) -> str:
    """Return a command as text without any address, which may hold a password."""
    parts = command if isinstance(command, (list, tuple)) else [command]
    return " ".join("<address>" if "://" in str(part) else str(part) for part in parts)


def _fail(message: str) -> int:
    """Print one error line; return exit code 1."""
    print(f"setup: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
