"""The command `avatarify`: the app itself, or one of the programs that go with it."""

from __future__ import annotations

import sys

from avatarify_plus.program.command_line import python_problem
from avatarify_plus.program.ending import FAILED, print_error


def main(arguments: list[str] | None = None) -> int:
    """Run `avatarify [adapt | bench | doctor | serve | studio] OPTIONS`, without anything the studio.

    Returns the exit code.

    arguments: without the program's name; None takes the command line's.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["doctor"]:  # what is amiss with Python and the packages is its business
        from avatarify_plus.doctor.doctor import main as doctor

        return doctor(given[1:])
    problem = python_problem()
    if problem is not None:
        print_error(problem)
        return FAILED
    if given[:1] == ["studio"] or not given:
        from avatarify_plus.studio.studio import main as studio

        return studio(given[1:])
    if given[:1] == ["serve"]:
        try:
            from avatarify_plus.service.serve import main as serve
        except ModuleNotFoundError as error:
            print_error(f"serve needs the package {error.name}: pip install -r requirements-serve.txt")
            return FAILED
        return serve(given[1:])
    if given[:1] == ["adapt"]:
        from avatarify_plus.adapt.command import main as adapt

        return adapt(given[1:])
    if given[:1] == ["bench"]:
        from avatarify_plus.bench.bench import main as bench

        return bench(given[1:])
    from avatarify_plus.app import main as app

    return app(given)


if __name__ == "__main__":
    sys.exit(main())
