"""Say how much of the package its tests run, and fail where that is too little.

    python -m pytest -n 2 --cov --cov-report=json:coverage.json && python scripts/check_coverage.py coverage.json

Light modules, which import neither TensorFlow nor Keras, must together have 90 % of their lines run; no module less
than 75 %. `make coverage` does both steps.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIGHT_TOTAL, EACH = 90.0, 75.0
HEAVY = re.compile(r"^(import|from) (keras|tensorflow|tf_keras_vis)\b", re.MULTILINE)


def main(path: Path) -> int:
    """Print the modules that are least covered and the two totals; return 1 if one is too low."""
    files = json.loads(path.read_text())["files"]
    counts = {
        name: (found["summary"]["covered_lines"], found["summary"]["num_statements"]) for name, found in files.items()
    }
    light = {name: count for name, count in counts.items() if not HEAVY.search((ROOT / name).read_text())}
    shares = sorted((share(count), name) for name, count in counts.items())
    for value, name in shares[:10]:
        print(f"{value:6.1f} %  {name}")
    total, total_light = (share([sum(part) for part in zip(*of.values(), strict=True)]) for of in (counts, light))
    print(f"{total:6.1f} %  all {len(counts)} modules")
    print(f"{total_light:6.1f} %  the {len(light)} light modules (at least {LIGHT_TOTAL:g} %)")
    low = [name for value, name in shares if value < EACH]
    if low or total_light < LIGHT_TOTAL:
        print(f"Too little is tested; modules under {EACH:g} %: {', '.join(low) or 'none'}", file=sys.stderr)
        return 1
    return 0


def share(count: tuple[int, int] | list[int]) -> float:
    """Return covered of all lines in percent; 100 for a module without any."""
    covered, lines = count
    return 100.0 * covered / lines if lines else 100.0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    raise SystemExit(main(Path(sys.argv[1])))
