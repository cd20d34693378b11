"""Say how many small changes ("mutants") of a module its tests notice, and fail under 80 %.

    mutmut run && mutmut results --all true | python scripts/check_mutants.py

`make mutants` does both steps, for the modules named under [tool.mutmut] in pyproject.toml.
"""

from __future__ import annotations

import sys
from collections import Counter

LEAST = 80.0


def main(lines: list[str]) -> int:
    """Count what mutmut says of each mutant; print it by module; return 1 if too few were noticed."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        name, _, state = line.strip().rpartition(": ")
        if name.startswith("bonescan_utils."):
            found.setdefault(name.rsplit(".", 1)[0], Counter())[state] += 1
    low = not found
    for module, states in found.items():
        noticed = sum(count for state, count in states.items() if state in {"killed", "timeout", "segfault"})
        share = 100.0 * noticed / states.total()
        low |= share < LEAST
        print(f"{share:5.1f} % of {states.total()} mutants noticed  {module}  {dict(states)}")
    return int(low)


if __name__ == "__main__":
    raise SystemExit(main(sys.stdin.readlines()))
