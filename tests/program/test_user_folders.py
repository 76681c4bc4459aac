"""Where things are kept, for users with a home and without."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from avatarify_plus import settings
from avatarify_plus.config import AppConfig
from avatarify_plus.doctor import storage
from avatarify_plus.doctor.finding import WARNING, Wanted
from avatarify_plus.engines.tensorrt_plans import PlanCache
from avatarify_plus.errors import EngineError
from avatarify_plus.program import user_folders
from fakes import EXAMPLES


def _no_home(*_: object, **__: object) -> Path:
    raise RuntimeError("could not determine the home directory")


def _tilde(*_: object, **__: object) -> Path:
    return Path("~/.config/avatarify_plus")


@pytest.fixture(params=[_no_home, _tilde], ids=["refused", "tilde"])
def homeless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("user_config_path", "user_cache_path"):
        monkeypatch.setattr(platformdirs, name, request.param)


def test_a_user_without_a_home_has_no_folders(homeless: None) -> None:
    with pytest.raises(FileNotFoundError, match="no home folder: set HOME"):
        user_folders.config_folder()
    with pytest.raises(EngineError, match="cannot be kept: this user has no home folder"):
        PlanCache()
    finding = storage.settings_folder(Wanted())
    assert (finding.state, "no home folder" in finding.message) == (WARNING, True)


def test_a_user_without_a_home_is_warned_that_nothing_is_kept(homeless: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        config = settings.KeptSettings(()).applied(AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",)))
        settings.KeptSettings(()).keep({"zoom": 2.0})
    assert config.zoom == 1
    assert settings.NOTICE in caplog.text
    warnings = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert len(warnings) == 1 and "cannot keep the settings: this user has no home folder" in warnings.pop()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_settings_of_a_number_without_a_name(tmp_path: Path) -> None:
    """A container's arbitrary user: no home, no entry in the list of users."""
    code = "from avatarify_plus import settings; settings.mark_notice_shown(); print(settings.load())"
    environment = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("XDG_")}
    wrapped = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    root = Path(__file__).resolve().parents[2]
    # A Python in a folder of root's may start for another user all the same, without its virtual environment.
    same_place = f"sys.exit(sys.prefix != {sys.prefix!r})"
    read_both = f"import sys, numpy, platformdirs; open({str(root / 'run.py')!r}); {same_place}"
    probe = [*wrapped, sys.executable, "-c", read_both]
    if subprocess.run(probe, capture_output=True, cwd="/", check=False).returncode:
        pytest.skip("this Python or this project cannot be read by others")
    done = subprocess.run(
        [*wrapped, sys.executable, "-c", code],
        env=environment | {"PYTHONPATH": str(root)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "{}"), done.stderr
