"""Urls: which are accepted, and which are equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import Backend, Registry
from registry._url import normalize_url

SAME = [
    ("http://h", "HTTP://H"),
    ("http://h", "http://h:80"),
    ("http://h", "http://h:"),
    ("http://h", "http://h:080"),
    ("http://h", "http://h///"),
    ("https://h/A", "https://h:443/A/"),
    ("http://h:8000", "http://H:8000/"),
    ("http://h?q", "http://h/?q"),
    ("http://[fe80::1]", "http://[FE80::1]:80/"),
    ("http://User:Pass@h", "http://User:Pass@H:80/"),
    ("http://ä.de", "http://Ä.de/"),
]

DIFFERENT = [
    ("http://h", "https://h"),
    ("http://h", "http://h:443"),
    ("https://h", "https://h:80"),
    ("http://h", "http://g"),
    ("http://h/a", "http://h/A"),
    ("http://h", "http://h/a"),
    ("http://h/a/b", "http://h/a//b"),
    ("http://h?q", "http://h?Q"),
    ("http://h#f", "http://h#F"),
    ("http://User@h", "http://user@h"),
]

MALFORMED = [
    "",
    "h:8000",
    "//h",
    "ftp://h",
    "http:h",
    "http:/h",
    "http://",
    "http:///x",
    "http://:80",
    "http://user@",
    "http://user@:80",
    "http://h:0",
    "http://h:65536",
    "http://h:-1",
    "http://h:+80",
    "http://h:8_0",
    "http://h:８０",
    "http://h:80:80",
    "http://h\\x",
    "http://[::1",
    "http://::1]",
    "http://[zz]",
    "http://[::1]x",
    "http://[::1]x:80",
    "http://x[::1]",
    *(f"http://h{character}x" for character in " \t\n\r\0\x1f\x7f\x80\x85\xa0\u2028\u3000"),
    *(f"{character}http://h" for character in " \n\0"),
]


@pytest.mark.parametrize(("url", "other"), SAME)
def test_equal_urls_find_the_same_backend(registry: Registry, url: str, other: str) -> None:
    registry.add_backend(Backend("a", "a", other))
    assert registry.has_backend_url(url)
    assert registry.has_backend_url(other)
    view = registry.get_backend("a")
    assert view is not None
    assert view.url == other


@pytest.mark.parametrize(("url", "other"), DIFFERENT)
def test_different_urls_do_not_find_the_backend(registry: Registry, url: str, other: str) -> None:
    registry.add_backend(Backend("a", "a", other))
    assert not registry.has_backend_url(url)


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused_and_never_found(registry: Registry, url: str) -> None:
    with pytest.raises(ValueError, match="^url must be"):
        Backend("a", "a", url)
    assert registry.has_backend_url(url) is False


@pytest.mark.parametrize(
    "url", ["http://h", "https://gpu-1.lan:8000/v1", "http://[::1]:8000", "http://u@h/?"]
)
def test_a_normalized_url_is_returned_as_the_same_object(url: str) -> None:
    normal = normalize_url(url)
    assert normal is not None
    assert normalize_url(normal) is normal


PARTS = {
    "scheme": st.sampled_from(["http", "HTTPS", "Http"]),
    "user": st.sampled_from(["", "@", "U:p@"]),
    "host": st.sampled_from(["h", "GPU-1.lan", "[::1]", "10.0.0.1", "Ä"]),
    "port": st.sampled_from(["", ":"]) | st.integers(1, 65535).map(":{}".format),
    "rest": st.text("aA/?#%2.", max_size=6).map(lambda text: text and f"/{text}"),
}


@given(st.fixed_dictionaries(PARTS))
def test_normalizing_is_idempotent(parts: dict[str, str]) -> None:
    url = "{scheme}://{user}{host}{port}{rest}".format(**parts)
    normal = normalize_url(url)
    assert normal is not None
    assert normalize_url(normal) == normal
    assert normal.startswith(("http://", "https://"))
