"""Find out what keeps the app from running well here, and say how to mend it.

    python -m avatarify_plus.doctor
    python -m avatarify_plus.doctor --json report.json

One line for each thing that is looked at; what is not ok is followed by its fix. The exit code is 1 if something
failed.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from avatarify_plus.doctor.finding import FAILED, OK, WARNING, Finding, Wanted
from avatarify_plus.doctor.installation import NOTHING_INSTALLED, installed
from avatarify_plus.doctor.isolation import findings_of

GROUPS = ("installation", "storage", "model", "engines", "gpu", "cameras", "outputs", "speed")
"""The modules of checks, in the order in which a newcomer mends things."""

STDOUT = "-"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--camera", metavar="DRIVER", help="webcam to try, as run.py's --camera (default: the first)")
    parser.add_argument("--model", metavar="BUNDLE", help="model to try, as run.py's --model (default: the app's)")
    parser.add_argument("--json", metavar="FILE", help=f"write everything there too; {STDOUT} writes nothing else")
    return parser


def examine(wanted: Wanted) -> Iterator[Finding]:
    """Yield what all checks find, one after the other.

    Where Python cannot run the app, or nothing is installed, there is nothing else to be told.
    """
    for group in GROUPS:
        for finding in findings_of(f"avatarify_plus.doctor.{group}", wanted):
            yield finding
            if finding.state == FAILED and (finding.name == "python" or finding == NOTHING_INSTALLED):
                return


def line(finding: Finding) -> str:
    """Return a finding for people, with its fix below it."""
    told = f"{finding.state:9}{finding.name:17} {finding.message}"
    return f"{told}\n{'':9}{'fix:':>17} {finding.fix}" if finding.fix else told


def summary(findings: Iterable[Finding]) -> str:
    """Return the closing line."""
    count = Counter(finding.state for finding in findings)
    counted = f"{count[OK]} ok, {count[WARNING]} warning{'s' * (count[WARNING] != 1)}, {count[FAILED]} failed"
    if count[FAILED]:
        return f"{counted}: mend what failed, first things first, then run this again"
    return f"{counted}: ready for python run.py --avatar face.jpg"


def report(findings: Iterable[Finding]) -> str:
    """Return everything as JSON: the machine, and each finding."""
    machine = {"system": platform.platform(), "python": sys.version, "packages": installed()}
    return json.dumps({"machine": machine, "findings": [finding._asdict() for finding in findings]}, indent=1)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 if something failed, 2 for wrong usage."""
    options = build_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a webcam's name may have letters that a console has not
        sys.stdout.reconfigure(errors="backslashreplace")
    tells = options.json != STDOUT
    findings = []
    try:
        for finding in examine(Wanted(options.model, options.camera)):
            findings.append(finding)
            if tells:
                print(line(finding), flush=True)
    except KeyboardInterrupt:
        return 130
    if tells:
        print(summary(findings))
    else:
        print(report(findings))
    if tells and options.json:
        try:
            Path(options.json).write_text(report(findings) + "\n", encoding="utf-8")
        except OSError as error:
            reason = error.strerror or error
            print(f"doctor: error: cannot write {options.json}: {reason}; choose another file", file=sys.stderr)
            return 1
    return int(any(finding.state == FAILED for finding in findings))
