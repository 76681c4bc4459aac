"""The command `avatarify`: the app itself, or one of the programs that go with it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from avatarify_plus.program.ending import FAILED, print_error
from avatarify_plus.program.stop import interrupt_on_signal

NAMED = ("adapt", "bench", "doctor", "serve", "studio")
"""The programs that are called by their names; without one, options are the app's."""


def main(arguments: list[str] | None = None) -> int:
    """Run `avatarify [adapt | bench | doctor | serve | studio] OPTIONS`, without anything the studio.

    Returns the exit code. A signal ends whatever runs in order, at any time.

    arguments: without the program's name; None takes the command line's.
    """
    given = sys.argv[1:] if arguments is None else arguments
    with interrupt_on_signal() as let_in:  # first of all: importing the rest takes a second
        from avatarify_plus.program.command_line import run_program
        from avatarify_plus.program.native_memory import keep_few_arenas

        keep_few_arenas()
        return run_program(lambda: _run(given, let_in))


def _run(given: list[str], let_in: Callable[[], None]) -> int:
    is_named = given[:1] != [] and given[0] in NAMED
    program = _import(given[0] if is_named else "app" if given else "studio")
    let_in()
    return FAILED if program is None else program(given[1:] if is_named else given)


def _import(name: str) -> Callable[[list[str]], int] | None:
    """Return a program's `main`; None, and a line that says why, if it cannot run here."""
    from avatarify_plus.program.command_line import python_problem

    if name == "doctor":  # what is amiss with Python and the packages is its business
        from avatarify_plus.doctor.doctor import main as doctor

        return doctor
    problem = python_problem()
    if problem is not None:
        print_error(problem)
        return None
    if name == "studio":
        from avatarify_plus.studio.studio import main as studio

        return studio
    if name == "serve":
        try:
            from avatarify_plus.service.serve import main as serve
        except ModuleNotFoundError as error:
            print_error(f"serve needs the package {error.name}: pip install -r requirements-serve.txt")
            return None
        return serve
    if name == "adapt":
        from avatarify_plus.adapt.command import main as adapt

        return adapt
    if name == "bench":
        from avatarify_plus.bench.bench import main as bench

        return bench
    from avatarify_plus.app import main as app

    return app


if __name__ == "__main__":
    sys.exit(main())
