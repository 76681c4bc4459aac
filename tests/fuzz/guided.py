"""Feed readers with files that coverage guides: `python tests/fuzz/guided.py manifest --seconds 3600`.

Needs Atheris (`pip install atheris`; Linux and macOS), which remembers the files that took a reader to lines of ours
that it had not reached before, and changes those further. It starts from the same files as `fuzz.py`, changes them as
that does or in libFuzzer's ways, and keeps what is found likewise. What it remembers stays below --out, and the next
run begins with it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

if not __package__:
    sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]
    os.environ["TQDM_DISABLE"] = "1"  # bars of progress would fill the screen

from mutation import mutated

INSTRUMENTED = ("avatarify_plus", "training", "export")
"""The packages whose lines guide; the libraries below them are not looked into."""

MAX_BYTES = 1 << 20
"""The largest file that is made."""

TIMEOUT_S = 60
"""A reader that takes longer hangs."""

FINDINGS = "findings.txt"
"""The file that the fuzzing process writes: a line for each kind of finding."""

COUNT = re.compile(r"Done (\d+) runs")
"""Where libFuzzer says how many files the reader got."""

SHOWN = 15
"""So many lines are shown of what a process said that did not end as it should."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="+", help="readers, see fuzz.py --list")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what chance starts from (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for files (default: %(default)s)")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print("guided: skipped, there is no Atheris here (pip install atheris)")
        return 0
    if options.in_this_process:
        run(options.target[0], options.seconds, options.seed, options.out)
    is_clean = True
    for target in options.target:
        count, findings = watched(target, options.seconds, options.seed, options.out.resolve())
        print(f"guided {target}: {count} files, {len(findings)} findings", *findings, sep="\n  ", flush=True)
        is_clean = is_clean and not findings
    return 0 if is_clean else 1


def watched(target: str, seconds: int, seed: int, out: Path) -> tuple[int, list[str]]:
    """Fuzz in a process of its own; return how many files the reader got, and each kind of finding in a line."""
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FINDINGS).unlink(missing_ok=True)
    words = [target, "--seconds", str(seconds), "--seed", str(seed), "--out", str(out), "--in-this-process"]
    # libFuzzer ends its process, whatever Python has left to do there.
    ended = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, errors="replace")
    findings = (folder / FINDINGS).read_text().splitlines() if (folder / FINDINGS).exists() else []
    if ended.returncode:
        last = "\n    ".join(f"{ended.stdout}{ended.stderr}".splitlines()[-SHOWN:])
        findings.append(f"{target}: it ended with {ended.returncode}, see {folder}:\n    {last}")
    count = COUNT.search(ended.stderr)
    return int(count[1]) if count else 0, findings


def run(name: str, seconds: int, seed: int, out: Path) -> NoReturn:
    """Fuzz for some time, and end this process."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from fuzz import all_targets, empty_folder, prepare, problem_of
        from targets import TARGETS

        target = TARGETS.get(name) or all_targets()[name]  # torch takes its time
    prepare(out)
    folder = out / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    work = empty_folder(folder / "work")
    for data in target.seeds(work):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    path, kinds = work / f"now{target.suffix}", set[str]()

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        problem = problem_of(target, path)
        if problem is not None and (kind := problem.partition(": ")[0]) not in kinds:
            kept = folder / f"{name}-guided-{seed}-{len(kinds)}{target.suffix}"
            kept.write_bytes(data)
            kinds.add(kind)
            with open(folder / FINDINGS, "a") as file:
                file.write(f"{name}: {problem}, see {kept}\n")

    def changed(data: bytes, max_size: int, number: int) -> bytes:
        chance = random.Random(number)
        way = chance.choice((target.change, target.change, mutated, None))
        if way is None:
            return atheris.Mutate(data, max_size)
        try:
            return way(data, chance)[:max_size]
        except Exception:  # what was remembered no longer has the form that is to be kept
            return mutated(data, chance)[:max_size]

    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-timeout={TIMEOUT_S}", "-rss_limit_mb=8192"]
    command = [sys.argv[0], *limits, f"-seed={seed}", f"-artifact_prefix={folder}/stopped-", str(corpus)]
    atheris.Setup(command, feed, custom_mutator=changed)
    atheris.Fuzz()
    raise AssertionError("libFuzzer returned")


if __name__ == "__main__":
    sys.exit(main())
