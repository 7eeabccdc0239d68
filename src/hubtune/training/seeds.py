"""Random streams derive from what they are for, never from the order in which work happens to be done."""

import hashlib


def derive(seed: int, *purpose: object) -> int:
    """A seed of its own for each purpose.

    Args:
        seed: the one seed of a run.
        purpose: names and numbers, such as ``"epoch", 3``.

    Returns:
        An integer in [0, 2^63).
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
