"""Feed readers with mutated files, for as long as one likes: `python tests/fuzz/fuzz.py --seconds 3600 --seed 7`.

Each reader gets files of ours, changed by a seeded generator: half of them at any byte, half in their form. It may take
them or refuse them with an AvatarifyError; anything else is a finding: the first file of each kind is kept, and printed
with the exception. A reader that dies or hangs ends this process, and what it was given last lies below --out as `now`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib.util
import logging
import math
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # run as a script
    os.environ["TQDM_DISABLE"] = "1"  # bars of progress would fill the screen

from avatarify_plus.errors import AvatarifyError
from mutation import mutated
from targets import TARGETS, Target

HANG_S = 30.0
"""A reader that takes longer hangs: where it is is printed, and this process ends."""

MAX_MEMORY = 16 << 30
"""The most address space of this process, in bytes: a file that asks for more is a finding, not a busy machine."""


def all_targets() -> Mapping[str, Target]:
    """Return what can be fuzzed here: without torch, only what needs none."""
    if importlib.util.find_spec("torch") is None:
        return TARGETS
    import torch

    from torch_targets import TORCH_TARGETS

    torch.set_num_threads(1)  # what is read is small
    return {**TARGETS, **TORCH_TARGETS}


def problem_of(target: Target, path: Path) -> str | None:
    """Return what is wrong with how a reader takes a file, None if it takes or refuses it as it should."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        target.read(path)
    except AvatarifyError as error:
        return f"more than one line: {str(error)[:200]!r}" if "\n" in str(error) else None
    except Exception as error:  # what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        return f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:100]}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


def fuzz(name: str, target: Target, seconds: float, files: float, seed: int, out: Path) -> tuple[int, list[str]]:
    """Feed one reader for some time or with some files; return how many it got, and each kind of finding in a line."""
    chance = random.Random(f"{name} {seed}")
    work = empty_folder(out / "work")
    seeds = target.seeds(work)
    count, kinds = 0, dict[str, list[str]]()
    ends_s = time.monotonic() + seconds
    path = work / f"now{target.suffix}"
    while time.monotonic() < ends_s and count < files:
        data = chance.choice((mutated, target.change))(chance.choice(seeds), chance)
        path.write_bytes(data)
        problem = problem_of(target, path)
        if problem is not None:
            kind = problem.partition(": ")[0]
            if kind not in kinds:  # the first of each kind is kept
                kept = out / f"{name}-{seed}-{count}{target.suffix}"
                kept.write_bytes(data)
                problem += f", see {kept}"
            kinds.setdefault(kind, []).append(problem)
        count += 1
    return count, [f"{name}: {len(found)} x {found[0]}" for found in kinds.values()]


def empty_folder(path: Path) -> Path:
    """Make a folder for what lies around while a reader is fed, without what another run left there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def prepare(out: Path) -> None:
    """Make a folder for files, keep the user's own settings and caches out of it, and memory within limits."""
    out.mkdir(parents=True, exist_ok=True)
    for kind in ("CONFIG", "CACHE", "DATA"):
        os.environ[f"XDG_{kind}_HOME"] = str(out.resolve() / "home")
    for kind in ("APPDATA", "LOCAL_APPDATA"):
        os.environ[f"WIN_PD_OVERRIDE_{kind}"] = str(out.resolve() / "home")
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ImportError, ValueError, OSError):  # there is none on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", metavar="NAME", help="readers, see --list (default: all)")
    parser.add_argument("--list", action="store_true", help="print the readers' names, and leave")
    parser.add_argument("--seconds", type=float, default=60, help="for each reader (default: 60)")
    parser.add_argument("--files", type=float, default=math.inf, help="for each reader at most (default: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="what chance starts from (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for files (default: %(default)s)")
    options = parser.parse_args(arguments)
    targets = all_targets()
    if options.list:
        print(*targets)
        return 0
    if unknown := set(options.target or ()) - set(targets):
        parser.error(f"there is no reader {', '.join(sorted(unknown))}: choose of {', '.join(targets)}")
    prepare(options.out)
    is_clean = True
    for name in options.target or targets:
        folder = options.out / name
        folder.mkdir(exist_ok=True)
        count, findings = fuzz(name, targets[name], options.seconds, options.files, options.seed, folder)
        print(f"{name}: {count} files, {len(findings)} findings", *findings, sep="\n  ", flush=True)
        is_clean = is_clean and not findings
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
