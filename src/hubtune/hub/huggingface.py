"""One image model of the Hugging Face hub, in the form in which timm keeps its models there."""

import functools
import json

from hubtune.errors import HubTuneError, ModelError
from hubtune.hub.backbone import Backbone
from hubtune.hub.card import ModelCard
from hubtune.hub.download import file_from_huggingface
from hubtune.hub.hub import Entry, Hub
from hubtune.hub.local import WEIGHT_FILES, blueprint_from, facts_from
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone, load_by_timm
from hubtune.hub.weights import read_weights, sha256


def open_huggingface(repository: str = "") -> Hub:
    """The model of a repository. Reads its config.json; code that a repository may hold is neither downloaded nor run.

    Args:
        repository: "ORG/NAME", or "ORG/NAME@REVISION".

    Raises:
        ModelError: no such repository or revision, not a model that this timm can build, or no connection.
    """
    if repository.count("/") != 1:
        raise ModelError(f"hf:{repository} was given, expected hf:ORG/NAME, such as hf:timm/resnet18.a1_in1k")
    wanted = f"hf:{repository}"
    path = file_from_huggingface(repository, ("config.json",), wanted)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"config.json of {wanted} cannot be read as JSON ({error}); choose another model") from error
    if not isinstance(content, dict):
        raise ModelError(f"config.json of {wanted} holds {type(content).__name__}; expected a dictionary: choose another model")
    try:
        blueprint, num_classes = blueprint_from(content)
        size = blueprint.measure()
    except HubTuneError:
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())  # one line
        raise ModelError(
            f"{wanted} cannot be built by the timm that is installed ({cause}); update timm, or choose another model"
        ) from error
    usable = num_classes if size.has_head else 0
    params, flops = size.with_head(usable)
    card = ModelCard(
        name=repository.partition("@")[0].partition("/")[2],
        source=wanted,
        architecture=blueprint.architecture,
        params=params,
        flops=flops,
        input_size=blueprint.input_size,
        feature_dim=size.feature_dim,
        num_classes=usable,
        **{"provenance": repository.partition("/")[0], **facts_from(content, blueprint)},
    )
    return Hub([Entry(card, functools.partial(_load, repository, blueprint, num_classes))])


def _load(repository: str, blueprint: Blueprint, num_classes: int, card: ModelCard, input_size: int | None) -> Backbone:
    path = file_from_huggingface(repository, WEIGHT_FILES, card.source)
    if card.sha256 not in (None, sha256(path)):
        raise ModelError(f"the weights of {card.source} have changed since its card was written; open the hub again")
    network = load_by_timm(blueprint, read_weights(path), num_classes)
    return TimmBackbone.from_network(network, blueprint, card, input_size)
