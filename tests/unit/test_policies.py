"""The core and `Policy` have the same policies: the binding checks this at import."""

from __future__ import annotations

import pytest

from registry import Policy
from registry._core.binding import check_policies


def test_the_core_has_the_policies_of_the_enum() -> None:
    check_policies(Policy)
    check_policies(policy.value for policy in Policy)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([*Policy, "newest"], id="one that the core lacks"),
        pytest.param([*Policy][:-1], id="one that the enum lacks"),
        pytest.param([*Policy][::-1], id="another order"),
        pytest.param([*[*Policy][:-1], "clever"], id="another name"),
    ],
)
def test_other_policies_are_refused(members: list[str]) -> None:
    with pytest.raises(ImportError, match="but the core has least_pending, power_of_two"):
        check_policies(members)
