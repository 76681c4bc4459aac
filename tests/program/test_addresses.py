"""No password is shown."""

import pytest

from avatarify_plus.program.addresses import shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://user:secret@127.0.0.1:9/video", "http://user:***@127.0.0.1:9/video"),
        ("rtsp://user:se@cret:x@host/live", "rtsp://user:***@host/live"),
        ("https://secret@host/live", "https://***@host/live"),
        ("http://host/cgi?user=me&pwd=secret&size=2", "http://host/cgi?user=me&pwd=***&size=2"),
        ("http://host/live?access_token=secret#t=1", "http://host/live?access_token=***#t=1"),
        ("http://host/a@b/video?at=b@c", "http://host/a@b/video?at=b@c"),
        ("rtsp://host/live", "rtsp://host/live"),
        ("films/me@home:1.mp4", "films/me@home:1.mp4"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(address: str, expected: str) -> None:
    assert shown(address) == expected
