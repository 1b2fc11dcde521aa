"""Urls of backends: what is accepted, and when two are the same."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
# What urlsplit drops in silence, or what no url may hold unescaped: white space, control characters, the backslash.
FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\]")
# Python 3.11 lets text stand beside the brackets of an IPv6 address.
BRACKETED = re.compile(r"(?:.*@)?\[[^\[\]]+\](?::[0-9]*)?")
# The usual form, which needs no parsing: lower case, a plain host, an optional port, no path that ends in a slash.
USUAL = re.compile(
    r"(https?)://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::([1-9][0-9]{0,4}))?(?:/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?"
)


def _split(url: str) -> SplitResult | None:
    if FORBIDDEN.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        return None
    if "]" in parts.netloc and not BRACKETED.fullmatch(parts.netloc):
        return None
    return parts


def _is_normal(url: str) -> bool:
    usual = USUAL.fullmatch(url)
    if usual is None:
        return False
    scheme, port = usual.groups()
    return port is None or (int(port) <= 65535 and int(port) != DEFAULT_PORTS[scheme])


def normalize_url(url: str) -> str | None:
    """The form in which equal urls are equal: scheme and host in lower case, no default port, no trailing slashes of the
    path. None if it is not `http(s)://host...`. The very same object where nothing changes. O(length)."""
    if _is_normal(url):
        return url
    parts = _split(url)
    if parts is None:
        return None
    userinfo, at, hostport = parts.netloc.rpartition("@")
    host = hostport.removesuffix(":") if parts.port is None else hostport[: hostport.rindex(":")]
    port = "" if parts.port in (None, DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    normal = f"{parts.scheme}://{userinfo}{at}{host.lower()}{port}{parts.path.rstrip('/')}{query}{fragment}"
    return url if normal == url else normal


def check_url(url: str, argument: str) -> str:
    """The url itself; ValueError if it is not `http(s)://host...`."""
    if normalize_url(url) is None:
        raise ValueError(
            f"{argument} must be an http(s) url with a host, such as 'http://gpu-1:8000', not {url!r}"
        )
    return url
