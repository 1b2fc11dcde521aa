"""For tests that run one round of a long check."""


def at_once() -> bool:
    """Ends a check after one round."""
    return True
