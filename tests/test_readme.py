"""The README says what the program does now."""

import re
from pathlib import Path

from avatarify_plus import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_page_of_options_is_what_help_says() -> None:
    assert app.markdown_table() in (ROOT / "docs" / "options.md").read_text()


def test_the_two_commands_stand_first() -> None:
    commands = re.findall(r"^pip install -r .*$", README, re.MULTILINE)
    assert commands[0].startswith("pip install -r requirements.txt && python run.py --avatar examples/avatar_2.jpg")
    assert commands[1] == "pip install -r requirements-dev.txt && python -m pytest"


def test_every_local_link_and_picture_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_that_a_page_names_exists() -> None:
    """Pages say `training/train.py` or `test_live.py`; the changelog speaks of names that are gone."""
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")]
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(r"(?<![\w./-])((?:\w+/)*\w+\.py)\b", page.read_text()):
            assert any(f"/{file}".endswith(f"/{name}") for file in files), f"{page.name}: {name}"
