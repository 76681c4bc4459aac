"""The command line of the service: what it refuses to open to others, tokens, helpers of connections, and its log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus.__main__ import main as avatarify
from avatarify_plus.errors import ConfigError
from avatarify_plus.service.serve import (
    MIN_TOKEN,
    PORT,
    TOKEN,
    TURN_S,
    JsonLines,
    _names,
    build_parser,
    check_reach,
    ice_servers,
    main,
    read_token,
)

ROOT = Path(__file__).resolve().parents[2]
TLS = ("--certificate", "c.pem", "--key", "k.pem")
NAMED = ("--name", "gpu.example.org")


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test begin without a token in the environment."""
    monkeypatch.delenv(TOKEN, raising=False)


def check(*arguments: str, is_new_token: bool = False) -> None:
    check_reach(build_parser().parse_args(list(arguments)), is_new_token)


# --- who reaches it ---


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--host", "127.0.0.1"),
        ("--host", "localhost"),
        ("--host", "::1"),
        ("--port", "0", "--stun", "stun:a:1"),
        TLS,
    ],
    ids=" ".join,
)
def test_on_this_computer_alone_nothing_is_asked_for(arguments: tuple[str, ...]) -> None:
    check(*arguments, is_new_token=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--host", "0.0.0.0", *TLS, *NAMED),
        ("--host", "::", *TLS, *NAMED),
        ("--host", "192.0.2.7", *TLS, *NAMED),
        ("--behind-proxy", *NAMED),
        ("--host", "0.0.0.0", *TLS, *NAMED, "--turn", "turn:a:1", "--turn-secret-file", "secret"),
    ],
    ids=" ".join,
)
def test_with_all_that_is_needed_others_may_reach_it(arguments: tuple[str, ...]) -> None:
    check(*arguments)


@pytest.mark.parametrize(
    ("arguments", "is_new", "words"),
    [
        (("--host", "0.0.0.0", *NAMED), False, r"at 0\.0\.0\.0 others can listen in: give --certificate and --key"),
        (("--host", "192.0.2.7", *NAMED), False, r"at 192\.0\.2\.7 others can listen in"),
        (("--host", "0.0.0.0", "--behind-proxy", *NAMED), False, r"others can listen in"),
        (("--host", "::", "--key", "k.pem", *NAMED), False, r"others can listen in"),
        (("--host", "gpu.example.org", *TLS, *NAMED), False, r"must be an address .* found 'gpu\.example\.org'"),
        (("--host", "", *TLS, *NAMED), False, r"must be an address .* found ''"),
        (("--certificate", "c.pem"), True, r"--certificate and --key go together"),
        (("--key", "k.pem"), True, r"--certificate and --key go together"),
        (("--host", "0.0.0.0", "--certificate", "c.pem", *NAMED), False, r"--certificate and --key go together"),
        (("--host", "0.0.0.0", *TLS, *NAMED), True, rf"give a token, in --token-file or in the environment's {TOKEN}"),
        (("--behind-proxy", *NAMED), True, r"give a token"),
        (("--host", "0.0.0.0", *TLS), False, r"give the --name that browsers know it by"),
        (("--behind-proxy",), False, r"give the --name"),
        (("--turn", "turn:a:1"), True, r"--turn needs --turn-secret-file"),
    ],
    ids=str,
)
def test_what_others_would_reach_unprotected_is_refused(arguments: tuple[str, ...], is_new: bool, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        check(*arguments, is_new_token=is_new)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ["127.0.0.1:8470", "localhost:8470"]),
        (("--host", "localhost"), ["127.0.0.1:8470", "localhost:8470"]),
        (("--behind-proxy", *NAMED), ["gpu.example.org", "127.0.0.1:8470", "localhost:8470"]),
        (("--host", "0.0.0.0", *TLS, *NAMED), ["gpu.example.org:8470"]),
        (("--host", "0.0.0.0", *TLS, "--name", "a.example:443", "b.example"), ["a.example:443", "b.example:8470"]),
        ((*TLS, *NAMED), ["gpu.example.org:8470", "127.0.0.1:8470", "localhost:8470"]),
    ],
    ids=str,
)
def test_it_answers_to_its_names_alone(arguments: tuple[str, ...], names: list[str]) -> None:
    assert _names(build_parser().parse_args(list(arguments)), PORT) == names


# --- tokens ---


def test_a_token_comes_from_a_file_or_the_environment_or_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, is_new), (second, _) = read_token(None), read_token(None)
    assert is_new and first != second and len(first) >= 2 * MIN_TOKEN
    assert re.fullmatch(r"[\w-]+", first), "it stands in an address"
    monkeypatch.setenv(TOKEN, "e" * MIN_TOKEN)
    assert read_token(None) == ("e" * MIN_TOKEN, False)
    file = tmp_path / "token"
    file.write_text("f" * 20 + "\n")
    assert read_token(file) == ("f" * 20, False)


@pytest.mark.parametrize("token", ["", "\n", "short", "x" * (MIN_TOKEN - 1) + "\n"])
def test_a_token_that_is_easily_guessed_is_refused_with_a_better_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(ConfigError) as refused:
        read_token(file)
    found = re.fullmatch(r"the token has (\d+) characters: take 16 or more, such as (\S+)", str(refused.value))
    assert found is not None and int(found[1]) == len(token.strip())
    assert len(found[2]) >= MIN_TOKEN
    assert not token.strip() or token.strip() not in str(refused.value)
    if token.strip():
        monkeypatch.setenv(TOKEN, token.strip())
        with pytest.raises(ConfigError, match="take 16 or more"):
            read_token(None)


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nothing: "):
        read_token(tmp_path / "nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xff" * 10)
    with pytest.raises(ConfigError, match=r"cannot read .*binary: "):
        read_token(tmp_path / "binary")


# --- servers that help to connect ---


def test_without_servers_there_are_none() -> None:
    assert ice_servers([], [], "")() == []


def test_stun_needs_no_password() -> None:
    (server,) = ice_servers(["stun:a:1", "stun:b:2"], [], "")()
    assert server.for_pages == {"urls": ["stun:a:1", "stun:b:2"]}


def test_turn_gets_a_password_of_the_moment_that_coturn_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = ice_servers(["stun:a:1"], ["turn:a:1", "turns:a:2"], "the secret")
    passwords = set()
    for now_s in (1_000_000.5, 1_000_600.5):
        monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
        stun, turn = servers()
        assert stun.credential is None
        assert turn.urls == ("turn:a:1", "turns:a:2")
        assert turn.username == f"{int(now_s) + TURN_S}:avatarify"
        assert turn.credential is not None and "the secret" not in turn.credential
        expected = hmac.new(b"the secret", turn.username.encode(), hashlib.sha1).digest()
        assert base64.b64decode(turn.credential) == expected
        passwords.add(turn.credential)
    assert len(passwords) == 2


# --- the log ---


def test_a_log_of_json_has_a_record_in_each_line() -> None:
    records = [
        logging.LogRecord("a", logging.INFO, "f", 1, 'call %d begins\nwith "quotes" and ä', (7,), None),
        logging.makeLogRecord(
            {
                "msg": "call 7 ended",
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "created": 0.0,
                "event": "ended",
                "call": 7,
                "seconds": 1.5,
                "pictures": 30,
                "dropped": 2,
                "why": "the caller left",
                "token": "never shown",
            }
        ),
    ]
    lines = [JsonLines().format(record) for record in records]
    assert not any("\n" in line for line in lines)
    first, second = (json.loads(line) for line in lines)
    assert (first["level"], first["message"]) == ("info", 'call 7 begins\nwith "quotes" and ä')
    assert set(first) == {"time", "level", "message"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["time"])
    assert second == {
        "time": "1970-01-01T00:00:00Z",
        "level": "warning",
        "message": "call 7 ended",
        **{"event": "ended", "call": 7, "seconds": 1.5, "pictures": 30, "dropped": 2, "why": "the caller left"},
    }


# --- the command ---


def test_help_has_examples_and_all_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        avatarify(["serve", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: avatarify serve [OPTIONS]")
    for words in ("--token-file FILE", "--behind-proxy", "--turn URL", "--callers N", "--log-format", "examples:"):
        assert words in shown
    assert f"(default: {PORT})" in shown


def test_help_comes_without_reading_a_model() -> None:
    asked = "import sys; from avatarify_plus.__main__ import main; main(['serve', '--help'])"
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")
    assert "avatars for callers on other machines" in found.stdout.replace("\n", " ").lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--behind-proxy"], "give a token"),
        (["--host", "0.0.0.0"], "others can listen in"),
        (["--callers", "0"], "callers"),
        (["--call-minutes", "-1"], "call-minutes"),
        (["--port", "many"], "port"),
        (["--engine", "steam"], "engine"),
        (["--log-format", "xml"], "log-format"),
        (["--token-file", "nowhere/token"], "cannot read nowhere/token"),
        (["--turn", "turn:a:1", "--turn-secret-file", "nowhere/secret"], "cannot read nowhere/secret"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_mistake_is_one_line_and_nothing_is_opened(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_server(*given: Any, **named: Any) -> None:
        raise AssertionError("a server is opened")

    monkeypatch.setattr("avatarify_plus.service.serve.HttpServer", open_server)
    monkeypatch.setattr("avatarify_plus.service.serve.configure_logging", lambda *given: None)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("avatarify: error: ") and words in line
    assert line.endswith("(see avatarify serve --help)")


def test_a_port_that_is_taken_is_named_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from avatarify_plus.web.http_server import HttpServer

    monkeypatch.setattr("avatarify_plus.service.serve.configure_logging", lambda *given: None)
    with HttpServer("127.0.0.1", 0, 1000) as server:
        assert main(["--port", str(server.port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"avatarify: error: cannot serve at 127.0.0.1:{server.port}: ")


@pytest.mark.parametrize("port", ["-1", "70000", "ten"])
def test_a_port_that_is_none_is_wrong_usage(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--port", port])
    assert left.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_the_address_is_called_as_it_can_be_reached() -> None:
    names = _names(build_parser().parse_args(["--host", "::1"]), 8470)
    assert "[::1]:8470" in names and "127.0.0.1:8470" not in names


def test_a_line_of_json_says_what_went_wrong() -> None:
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "a turn failed", (), sys.exc_info())
    assert "ZeroDivisionError: by nothing" in json.loads(JsonLines().format(record))["error"]


def test_at_the_port_of_https_browsers_name_no_port() -> None:
    arguments = ["--host", "0.0.0.0", *TLS, *NAMED]
    assert _names(build_parser().parse_args(arguments), 443) == ["gpu.example.org"]
