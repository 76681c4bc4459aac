"""Find out what keeps the app from running well here, and say how to fix it.

One line for each check; what is not ok is followed by its fix. The exit code is 1 if something failed.
"""

from __future__ import annotations

import io
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from avatarify_plus.doctor.finding import FAILED, OK, WARNING, Finding, Wanted
from avatarify_plus.doctor.installation import NOTHING_INSTALLED, installed
from avatarify_plus.doctor.isolation import findings_of
from avatarify_plus.program.checkout import app_command
from avatarify_plus.program.command_line import (
    STDOUT,
    ProgramParser,
    add_json_option,
    add_model_option,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from avatarify_plus.program.ending import DONE
from avatarify_plus.program.ending import FAILED as EXIT_FAILED

GROUPS = ("installation", "storage", "model", "engines", "gpu", "cameras", "outputs", "speed")
"""The modules of checks, in the order in which a newcomer fixes things."""

EXAMPLES = (
    "avatarify doctor",
    "avatarify doctor --json report.json",
    "avatarify doctor --camera 1",
)


def build_parser() -> ProgramParser:
    """Return the command line."""
    parser = ProgramParser(prog="avatarify doctor", description=__doc__, examples=EXAMPLES)
    parser.add_argument(
        "--camera", metavar="DRIVER", help="driver to try, as the app's --camera (default: the first webcam)"
    )
    add_model_option(parser, None, ", to try (default: the app's)")
    add_json_option(parser)
    return parser


def examine(wanted: Wanted) -> Iterator[Finding]:
    """Yield what all checks find, one after the other.

    Where Python cannot run the app, or nothing is installed, the other checks are left out.
    """
    for group in GROUPS:
        for finding in findings_of(f"avatarify_plus.doctor.{group}", wanted):
            yield finding
            if finding.state == FAILED and (finding.name == "python" or finding.message == NOTHING_INSTALLED):
                return


def line(finding: Finding) -> str:
    """Return a finding for people, with its fix below it."""
    shown = f"{finding.state:9}{finding.name:17} {finding.message}"
    return f"{shown}\n{'':9}{'fix:':>17} {finding.fix}" if finding.fix else shown


def summary(findings: Iterable[Finding]) -> str:
    """Return the closing line."""
    count = Counter(finding.state for finding in findings)
    counted = f"{count[OK]} ok, {count[WARNING]} warning{'s' * (count[WARNING] != 1)}, {count[FAILED]} failed"
    if count[FAILED]:
        return f"{counted}: fix what failed, from the top, then run this again"
    return f"{counted}: ready for {app_command()} --avatar face.jpg"


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return everything, JSON-ready: the machine, and each finding."""
    machine = {"system": platform.platform(), "python": sys.version, "packages": installed()}
    return {"machine": machine, "findings": [finding._asdict() for finding in findings]}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: FAILED if a check failed."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose)
    require_json_file(options.json)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a webcam's name may have letters that a console has not
        sys.stdout.reconfigure(errors="backslashreplace")
    findings = []
    for finding in examine(Wanted(options.model, options.camera)):
        findings.append(finding)
        if options.json != STDOUT:
            print(line(finding), flush=True)
    print_report(summary(findings), report(findings), options.json)
    return EXIT_FAILED if any(finding.state == FAILED for finding in findings) else DONE
