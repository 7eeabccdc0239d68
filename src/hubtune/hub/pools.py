"""Named conditions: the pools of models in which strategies are compared.

Source: Renggli et al. (2021), section 4.2. Their experts are exactly the models that were pre-trained on other data than ImageNet.
"""

import re

from hubtune.errors import unknown_name

RESNET50_PARAMS = 25_613_800
"""Of ResNet-50-V2 with its ImageNet head, as in Keras Applications."""

POOLS: dict[str, str] = {
    "All": "1",
    "ResNet-50": f"params <= {RESNET50_PARAMS}",
    "Expert": "pretraining <> 'unknown' and pretraining not like '%ImageNet%'",
    "ImNetAccuracies": "upstream_dataset = 'ImageNet-1k' and upstream_accuracy is not null",
    "Dim2048": "feature_dim <= 2048",
}
"""Name of a pool to its condition over the fields of a card."""

QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]"""
"""A text, or a name in quotes."""
_NAMED = re.compile(rf"{QUOTED}|\bpool:(?P<name>[\w-]+)")


def expand(condition: str) -> str:
    """The condition with each ``pool:NAME`` outside quotes replaced by what it stands for, in parentheses; case does not matter.

    Raises:
        UnknownNameError: no such pool.
    """
    known = {name.lower(): f"({sql})" for name, sql in POOLS.items()}

    def meaning(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return found[0]
        if name.lower() not in known:
            raise unknown_name("pool", name, POOLS)
        return known[name.lower()]

    return _NAMED.sub(meaning, condition)
