"""No password is shown."""

import pytest

from avatarify_plus.program.addresses import by_proxy, parts_of, shown


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


@pytest.mark.parametrize(
    "address", ["https://[", "http://[::1/a", "https://host:port/", "rtsp://host:99999", "http://\u2100"]
)
def test_what_is_no_address_has_no_parts(address: str) -> None:
    assert parts_of(address) is None and by_proxy(address) == ""
    found = parts_of("https://host:8470/a")
    assert found is not None and (found.hostname, found.port) == ("host", 8470)
