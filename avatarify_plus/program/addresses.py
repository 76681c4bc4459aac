"""Addresses on the network, shown without what is secret in them."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request

HIDDEN = "***"

_USER = re.compile(r"(?<=://)[^/?#]*@")  # up to the last @ of the authority: passwords may hold one
_SECRETS = re.compile(r"(?i)([?&;](?:[^=&;#]*(?:pass|pwd|token|secret|auth|key|sig)[^=&;#]*)=)[^&;#\s]*")


def shown(address: str) -> str:
    """Return an address as messages, logs and windows may show it: its user's password and secret parameters hidden.

    "rtsp://me:secret@host/live?token=abc" becomes "rtsp://me:***@host/live?token=***"; what is not an address stays.
    """
    if "://" not in address:
        return address
    address = _USER.sub(_without_password, address, count=1)
    return _SECRETS.sub(rf"\g<1>{HIDDEN}", address)


def _without_password(match: re.Match[str]) -> str:
    user, colon, _ = match[0][:-1].partition(":")
    return f"{user}:{HIDDEN}@" if colon else f"{HIDDEN}@"  # a name without a password is a token


def parts_of(address: str) -> urllib.parse.SplitResult | None:
    """Return the parts of an address; None if it is none, such as "https://[" or one whose port is no number."""
    try:
        parts = urllib.parse.urlsplit(address)
        return parts if parts.port is None or parts.hostname else None
    except ValueError:
        return None


def by_proxy(address: str) -> str:
    """Return which proxy an address is asked for through, in words; nothing if there is none."""
    parts = parts_of(address)
    if parts is None:
        return ""
    proxy = urllib.request.getproxies_environment().get(parts.scheme)
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # missing in the types
    if proxy is None or (parts.hostname and bypass(parts.hostname)):
        return ""
    return f" through the proxy {shown(proxy)} ({parts.scheme}_proxy)"
