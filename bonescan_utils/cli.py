"""The command `bonescan`: run, check, predict, phantom, plan, doctor.

Exit codes: 0 done, 1 a failure of ours or of the machine, 2 input that cannot be used as it is, 130 stopped.
Bad input never gives a traceback; for any other failure, BONESCAN_DEBUG=1 shows it.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from bonescan_utils import __version__

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
BAD_INPUT_ERRORS = frozenset(
    "StudyError ManifestError ScanError CsvError WeightsError BackboneError ArmError ModelError FitError"
    " FeatureError SaliencyError WorkerError DeviceError".split()
)
"""Names of the errors whose text is meant for the user, wherever they were raised: here or in a notebook."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    signal.signal(signal.SIGTERM, _stop)  # what a batch system sends before it kills
    try:
        return command(options)
    except KeyboardInterrupt:
        return _say_stopped()
    except BrokenPipeError:  # `bonescan check ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _say_failed(error)


def _say_stopped() -> int:
    print("\nStopped; nothing half written. The same command resumes.", file=sys.stderr)
    return STOPPED


def _say_failed(error: Exception) -> int:
    """Print what went wrong; return the exit code that fits."""
    if os.environ.get("BONESCAN_DEBUG"):
        import traceback

        traceback.print_exception(error)
    name = getattr(error, "ename", type(error).__name__)
    bad_input = name in BAD_INPUT_ERRORS or any(base.__name__ in BAD_INPUT_ERRORS for base in type(error).__mro__)
    known = bad_input or hasattr(error, "ename") or isinstance(error, OSError)
    text = str(error) if known else f"internal error: {type(error).__name__}: {error}"
    print(f"bonescan: {text}", file=sys.stderr)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        print(
            "The disk is full. Files written earlier are intact; free some room, then repeat.",
            file=sys.stderr,
        )
    if hasattr(error, "ename"):
        print("The notebook up to there is in the run folder. The same command resumes.", file=sys.stderr)
    if not known:
        print("This is a fault of the program; BONESCAN_DEBUG=1 shows where.", file=sys.stderr)
    return BAD_INPUT if bad_input else FAILED


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# ------------------------------------------------------------------------------------------------- commands
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
    folder = run_study(config, project, screen=screen)
    screen.line(f"Done. Start with {shown(folder / 'index.html')}")
    return OK


def _check(options: argparse.Namespace) -> int:
    from bonescan_utils import cohort
    from bonescan_utils.manifest import read_manifest

    problems = cohort.check(options.manifest)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{options.manifest}: {len(problems)} problem{'s' * (len(problems) > 1)}", file=sys.stderr)
        return BAD_INPUT
    summary = cohort.describe(read_manifest(options.manifest), options.manifest.parent)
    print(f"{options.manifest}: no problem found; {summary}")
    return OK


def _predict(options: argparse.Namespace) -> int:
    from bonescan_utils.predict import predict_files

    summary = predict_files(options.inputs, run=_run_folder(options.run), arm=options.arm, out=options.out)
    unusable = summary[summary["status"] != "scored"]
    for row in summary.itertuples():
        print(f"{row.scan_id}: score {row.y_score:.3f}" if row.status == "scored" else f"{row.file}: {row.reason}")
    print(f"{len(summary) - len(unusable)} scored, {len(unusable)} unusable; results in {options.out}")
    return BAD_INPUT if len(unusable) else OK


def _phantom(options: argparse.Namespace) -> int:
    from bonescan_utils import phantom

    manifest = phantom.write_cohort(options.out, n=options.n, seed=options.seed, n_jobs=options.jobs)
    print(f"{options.n} phantom scans: {manifest}")
    return OK


def _plan(options: argparse.Namespace) -> int:
    from bonescan_utils.plan import first_arms, measured_costs, plan_table
    from bonescan_utils.profiles import make_config, parse_settings
    from bonescan_utils.runner import find_project

    settings: dict[str, object] = dict(parse_settings(options.parameters))
    config = make_config("study", settings | {"folds": options.folds, "seeds": options.seeds})
    arms = first_arms(options.arms)
    costs = measured_costs(config, arms, kept=find_project().reports / "calibration.json")
    table = plan_table(costs, config, arms, n=options.n, workers=options.workers)
    shown = table.assign(units=table["units"].round().astype(int))
    print(f"{options.n:,} scans, {len(arms)} arms, {config.folds} folds, {config.seeds} seed(s).")
    print(f"One machine like this one, {costs.cores} cores; shared: by {options.workers} of them.\n")
    print(shown.to_string(index=False, float_format=lambda value: f"{value:,.3g}", na_rep=""))
    if options.csv:
        from bonescan_utils.files import write_csv

        write_csv(options.csv, table)
    return OK


def _doctor(options: argparse.Namespace) -> int:
    from bonescan_utils.doctor import examine

    healthy = True
    for finding in examine(weights_dir=options.weights_dir, out=options.out):
        print(f"{finding.mark:5} {finding.what:20} {finding.found}")
        healthy &= finding.mark != "FAIL"
    return OK if healthy else FAILED


def _run_folder(name: str) -> Path:
    """Return the folder of a run given by its name or by its path."""
    from bonescan_utils.runner import find_project

    path = Path(name)
    return path if (path / "run.json").exists() else find_project().reports / name


# -------------------------------------------------------------------------------------------------- parser
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bonescan", description="Whole-body bone scans: run the study, check a manifest, score scans."
    )
    parser.add_argument("--version", action="version", version=f"bonescan {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    check = _command(commands, "check", _check, "check a manifest and every file it names", "my_manifest.csv")
    check.add_argument("manifest", type=Path, help="CSV with one row per scan")
    predict = _command(
        commands, "predict", _predict, "score scans with a model of a finished run, with Grad-CAM",
        "scan.dcm --run study --out results",
    )  # fmt: skip
    predict.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_DIR", help="DICOM files or folders")
    predict.add_argument("--run", required=True, help="name or folder of the run that trained the model")
    predict.add_argument("--arm", default="proposed", help="which model (default: proposed)")
    predict.add_argument("--out", required=True, type=Path, help="folder for JSON, pictures and the summary")
    phantom = _command(
        commands, "phantom", _phantom, "make synthetic scans as DICOM, with manifest and truth",
        "--out data_small --n 20 --seed 7",
    )  # fmt: skip
    phantom.add_argument("--out", required=True, type=Path, help="folder to write to")
    phantom.add_argument("--n", type=_even, default=1000, help="number of scans, even (default: 1000)")
    phantom.add_argument("--seed", type=_seed, default=2022, help="seed of the cohort (default: 2022)")
    phantom.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")
    plan = _command(
        commands, "plan", _plan, "say what a study of so many scans takes, by what this machine was measured to do",
        "--n 100000 --arms 6 --folds 5 --workers 100",
    )  # fmt: skip
    plan.add_argument("--n", type=_positive, default=1000, help="number of scans (default: 1000)")
    plan.add_argument("--arms", default="6", help="how many of the study's arms, or their names (default: 6)")
    plan.add_argument("--folds", default="0", help="folds of a cross-validation (default: 0)")
    plan.add_argument("--seeds", default="1", help="repetitions of each of its fits (default: 1)")
    plan.add_argument("--workers", type=_positive, default=1, help="machines that share the work (default: 1)")
    plan.add_argument("--csv", type=Path, help="also write the table to this file")
    plan.add_argument(
        "-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="set a parameter"
    )
    doctor = _command(commands, "doctor", _doctor, "say what this machine has and lacks", "")
    doctor.add_argument("--weights-dir", default="", help="folder with the official weights files")
    doctor.add_argument("--out", type=Path, default=Path("reports"), help="folder to test for write access")
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = _command(
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
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter; repeatable",
    )


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a subcommand whose help ends with an example."""
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"Example: bonescan {name} {example}",
    )
    parser.set_defaults(command=function)
    return parser


def _even(text: str) -> int:
    """Return an even number above 0: half of the phantoms have metastases."""
    if not text.isdecimal() or int(text) < 2 or int(text) % 2:
        raise argparse.ArgumentTypeError(f"expected an even number of 2 or more, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
