"""Helpers for messages that quote a name from a file: escaping, and finding typos."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """The text with control characters escaped, so it can't move a cursor or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is probably a typo of, or None.

    A typo is one edit in a name of three to seven letters, or up to two edits in a longer one.
    So `strings` is no typo of `settings`. Case, hyphens and underscores are ignored.
    O(length ** 2) for each known name of a similar length.
    """
    typos = {each: _typo(_plain(name), _plain(each)) for each in known}
    found = [(distance, each) for each, distance in typos.items() if distance is not None]
    return min(found)[1] if found else None


def _typo(given: str, meant: str) -> int | None:
    """The number of edits between two names, or None if there are too many for a typo."""
    shorter = min(len(given), len(meant))
    limit = 0 if shorter < 3 else 1 if shorter < 8 else 2
    if abs(len(given) - len(meant)) > limit:  # a quick test: a key may be as long as its file
        return None
    distance = edits(given, meant)
    return distance if distance <= limit else None


def edits(one: str, other: str) -> int:
    """The number of edits that turn one text into the other.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours: the restricted
    Damerau-Levenshtein distance ("optimal string alignment"), by dynamic programming with three
    rows. O(len(one) * len(other)).
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, one[i - 2]) == (other[j - 2], b):
                row[-1] = min(row[-1], last[j - 2] + 1)
    return row[-1]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
