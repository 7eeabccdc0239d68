"""Whether several models are one network with different weights, as methods need that put weights together."""

from collections.abc import Sequence

from hubtune.errors import ConfigurationError
from hubtune.hub import Backbone, Hub


def check_one_architecture(hub: Hub, wanted: str, remedy: str) -> None:
    """Before any model is loaded.

    Args:
        wanted: what was asked for, as the error says it.
        remedy: what to do instead.

    Raises:
        ConfigurationError: several architectures.
    """
    if len({card.architecture for card in hub}) > 1:
        found = ", ".join(f"{card.name} ({card.architecture})" for card in hub)
        raise ConfigurationError(f"{wanted} was asked of different architectures: {found}; expected one: {remedy}")


def check_alike(backbones: Sequence[Backbone], wanted: str, remedy: str) -> None:
    """Of loaded models: whether everything but the weights is equal, down to the preprocessing.

    Raises:
        ConfigurationError: it is not.
    """
    specs = [{name: value for name, value in backbone.spec().items() if name != "card"} for backbone in backbones]
    if any(spec != specs[0] for spec in specs):
        found = ", ".join(f"{backbone.card.name} ({backbone.card.architecture})" for backbone in backbones)
        raise ConfigurationError(f"{wanted} was asked of different architectures or preprocessings: {found}; expected one: {remedy}")
