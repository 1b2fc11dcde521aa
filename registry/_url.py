"""The urls of backends: which are accepted, and which are equal."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
# White space, control characters and the backslash. A url must not contain them unescaped, and
# urlsplit silently removes some of them.
FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\]")
# A netloc with an IPv6 address. Python 3.11's urlsplit accepts text beside the brackets.
BRACKETED = re.compile(r"(?:.*@)?\[[^\[\]]+\](?::[0-9]*)?")
# Most urls in their normal form, which are recognized without parsing: in lower case, with a plain
# host, an optional port, and a path that does not end in a slash.
USUAL = re.compile(
    r"(https?)://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::([1-9][0-9]{0,4}))?"
    r"(?:/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?"
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
    """The normal form of a url, or None if it is not `http(s)://host...`.

    Two urls belong to the same backend if their normal forms are equal. A normal form has scheme
    and host in lower case, no default port, and no trailing slashes in its path. If `url` is
    already in normal form, the same object is returned. O(length).
    """
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
    netloc = f"{userinfo}{at}{host.lower()}{port}"
    normal = f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}{query}{fragment}"
    return url if normal == url else normal


def check_url(url: str, argument: str) -> str:
    """Returns the url unchanged. Raises ValueError if it is not `http(s)://host...`."""
    if normalize_url(url) is None:
        raise ValueError(
            f"{argument} must be an http(s) url with a host, such as 'http://gpu-1:8000', "
            f"not {url!r}"
        )
    return url
