"""`bonescan run`: the five notebooks, in order."""

from __future__ import annotations

import argparse
import sys

from bonescan_utils.commands import OK, Commands, add_command, add_parameters


def add(commands: Commands) -> None:
    """Add the parser."""
    run = add_command(
        commands, "run", _run, "execute the five notebooks; resumes what was cut short",
        "--profile study --manifest hospital.csv --run hospital -p seed=7",
    )  # fmt: skip
    run.add_argument("--profile", default="study", help="quick, study or full (default: study)")
    run.add_argument("--manifest", metavar="CSV", help="one row per scan (default: the phantom cohort)")
    run.add_argument("--run", metavar="NAME", help="folder under reports/ (default: the profile's name)")
    run.add_argument("--folds", metavar="K", help="also cross-validate: every scan is scored by arms that never saw it")
    run.add_argument("--seeds", metavar="R", help="repeat each fit of the cross-validation with R seeds (default: 1)")
    run.add_argument("--scheduler", metavar="ADDRESS", help="share the work out over a Dask cluster (tcp://host:8786)")
    run.add_argument(
        "--replace", action="store_true",
        help="use the folder of a run with other settings: what they change is made again in it, the rest is kept",
    )  # fmt: skip
    add_parameters(run)


def _run(options: argparse.Namespace) -> int:
    from bonescan_utils.profiles import make_config, parse_settings
    from bonescan_utils.runner import find_project, run_study, shown
    from bonescan_utils.screen import Screen

    settings: dict[str, object] = dict(parse_settings(options.parameters))
    for name in ("manifest", "run", "folds", "seeds", "scheduler"):
        if getattr(options, name) is not None:
            settings[name] = getattr(options, name)
    project = find_project()
    settings.setdefault("manifest", str(project.notebooks.parent / "data_manifest.csv"))
    config = make_config(options.profile, settings)
    screen = Screen(sys.stdout)
    folder = run_study(config, project, screen=screen, replace=options.replace)
    screen.line(f"Done. Start with {shown(folder / 'index.html')}")
    return OK
