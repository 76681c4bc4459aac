"""What is installed is what a checkout has."""

import re
import sys
from pathlib import Path

import pytest

import avatarify_plus

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(name: str) -> set[str]:
    """Return a file's requirements without markers and comments."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {line for line in lines if line and not line.startswith("-")}


@pytest.mark.parametrize("extra", ["train", "serve", "cluster", "gpu", "dev"])
def test_extras_are_the_requirement_files(extra: str) -> None:
    lines = PROJECT["project"]["optional-dependencies"][extra]
    listed = {line.partition(";")[0].strip() for line in lines if not line.startswith("avatarify_plus[")}
    assert listed == requirements(f"requirements-{extra}.txt")


def test_dependencies_are_those_of_a_checkout_with_their_markers() -> None:
    lines = (line.partition("  #")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    wanted = {line.replace('"', "'") for line in lines if line and not line.startswith(("#", "-"))}
    assert {" ".join(line.split()) for line in wanted} == set(PROJECT["project"]["dependencies"])


def test_what_makes_the_trackers_networks_is_pinned() -> None:
    """Another release might write other bytes than those whose SHA-256 is known."""
    assert any(line.startswith("flatbuffers==") for line in PROJECT["build-system"]["requires"])
    assert PROJECT["build-system"]["backend-path"] == ["installation"]


def test_every_room_is_packaged() -> None:
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "avatarify_plus").rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == rooms | {"avatarify_plus.examples"}
    for name in PROJECT["tool"]["setuptools"]["package-data"]["avatarify_plus.examples"]:
        assert (ROOT / "examples" / name).is_file()


def test_types_are_promised_and_versions_agree() -> None:
    assert (ROOT / "avatarify_plus" / "py.typed").is_file()
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^version: {re.escape(avatarify_plus.__version__)}$", citation, re.MULTILINE)
    assert f"## {avatarify_plus.__version__}" in (ROOT / "docs" / "changelog.md").read_text()
