"""Hostile input: one round of the long check with shorter ids, and planted bugs to detect."""

from __future__ import annotations

import pytest
from long import hostile
from support import broken
from support.calls import OF_LEASES, OPERATIONS
from support.rounds import at_once

from registry import Registry


def test_every_operation_is_in_the_table() -> None:
    """Some belong to leases.

    `from_fleet` creates a registry, and other tests check the files that it reads.
    """
    public = {name for name in dir(Registry) if not name.startswith("_")}
    assert {name for name in OPERATIONS if not name.startswith("__")} - set(OF_LEASES) == public - {
        "from_fleet"
    }


def test_one_round_finds_nothing() -> None:
    assert sum(hostile.run(at_once, length=5000)) > 1000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TrustsSubclasses", "get_backend"),
        ("CountsBeforeItChecks", r"increment_pending_many.*(something has changed| is not \[)"),
        ("ChangesBeforeItChecks", "set_mdns_instance.* something has changed"),
        ("WrongErrors", "acquire: neither the contract's error nor the caller's"),
        ("LosesLongIds", "not kept as they are"),
    ],
)
def test_a_planted_bug_is_detected(name: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        list(hostile.run(at_once, make=getattr(broken, name), length=5000))
