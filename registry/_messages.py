"""Names from files in messages: escaped, and with the known name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """The text with control characters escaped: it can't move a cursor or forge a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is a typo of, or None.

    One edit is a typo in three to five letters, two are in six or more; case, hyphens and
    underscores don't count. Other words are not: nobody means `priority` by `api_key`.
    """
    typos = {each: _typo(_plain(name), _plain(each)) for each in known}
    found = [(distance, each) for each, distance in typos.items() if distance is not None]
    return min(found)[1] if found else None


def _typo(given: str, meant: str) -> int | None:
    """The edits between the two, None if they are too many for a typo."""
    limit = min(2, len(given) // 3, len(meant) // 3)
    if abs(len(given) - len(meant)) > limit:  # a key can be as long as its file
        return None
    distance = edits(given, meant)
    return distance if distance <= limit else None


def edits(one: str, other: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours from one text to the other."""
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
