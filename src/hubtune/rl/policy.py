"""A policy as a model of a hub: weights, what they play and what they score, in a folder."""

import copy
import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors.torch import save_file

from hubtune.errors import ConfigurationError, ModelError, RunError
from hubtune.hub import Backbone, Hub, ModelCard
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone
from hubtune.hub.weights import load_exactly, read_weights, rename
from hubtune.nets import DuelingHead
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.pathway.zoo_tuning import ZooNetwork
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.training.predictor import Predictor, Single

ARCHITECTURE = "data_efficient_cnn"
WEIGHTS = "policy.safetensors"
KINDS = {kind.kind: kind for kind in (Single, RoutedHub, ZooNetwork)}
TRUNK, HEAD = "backbone.network.", "head."
HeadPart = Literal["hidden", "all"]


@dataclass(frozen=True, kw_only=True)
class PolicyCard:
    """What is known of a policy."""

    game: str
    actions: tuple[str, ...]
    """What each output stands for."""
    steps: int
    """Agent steps of the training."""
    method: str
    """By which it was trained."""
    sources: tuple[str, ...] = ()
    """Policies that it started from."""
    seed: int
    score: float
    """Mean over the games of the last evaluation."""
    human_normalised: float | None = None
    """0 for a random player, 1 for a person."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The configuration of the method."""

    @property
    def play(self) -> DataEfficientRainbow:
        """The settings under which it plays."""
        names = {f.name for f in dataclasses.fields(DataEfficientRainbow)}
        return DataEfficientRainbow.from_config({name: value for name, value in self.settings.items() if name in names})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "actions": tuple(values["actions"]), "sources": tuple(values["sources"])})


@dataclass(frozen=True, kw_only=True)
class SourcePolicy:
    """A policy that another one may start from."""

    name: str
    """Among the sources."""
    card: PolicyCard
    sha256: str
    """Of its weights."""
    hub: Hub
    """Holds the network under ``model``."""
    model: str
    file: Path
    """The JSON that describes it."""

    def backbone(self) -> Backbone:
        """The convolutions, a fresh copy."""
        return self.hub.load(self.model)

    def head(self) -> DuelingHead:
        """The head, a fresh copy."""
        content = _read(self.file)
        try:
            spec = content["predictor"]
            head = DuelingHead.from_spec(spec["head"], spec["outputs"])
            weights = self.file.parent / content["file"]
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.file} describes its network wrongly ({error!r}); run the command that made it again") from error
        weights = rename(read_weights(weights), {HEAD: "", TRUNK: None})
        load_exactly(head, weights)
        return head


def fresh_backbone(settings: DataEfficientRainbow) -> TimmBackbone:
    """The convolutions with weights from torch's global generator."""
    channels, side = settings.history, settings.frame_size
    cfg = {"input_size": [channels, side, side], "mean": [0.0] * channels, "std": [1.0] * channels, "fixed_input_size": True}
    blueprint = Blueprint(architecture=ARCHITECTURE, model_args={"in_chans": channels}, pretrained_cfg=cfg)
    size = blueprint.measure()
    card = ModelCard(
        name="new", source="scratch", architecture=ARCHITECTURE, params=size.params, input_size=side, feature_dim=size.feature_dim
    )
    return TimmBackbone(blueprint.build(), blueprint, card)


def fresh_head(backbone: Backbone, actions: int, settings: DataEfficientRainbow) -> DuelingHead:
    """A head with weights from torch's global generator."""
    return DuelingHead(backbone.feature_dim, actions, atoms=settings.atoms, hidden=settings.hidden, sigma=settings.noisy_sigma)


@torch.no_grad()
def keep_head(source: SourcePolicy, fresh: DuelingHead, actions: Sequence[str], part: HeadPart) -> str | None:
    """Take over a part of a source's head into a fresh one, as far as it fits.

    Args:
        actions: of the game.
        part: "hidden": both hidden layers; "all": the layers behind them as well, those of the advantages if the actions are the same.

    Returns:
        What could not be taken over and why, in a sentence; None for a head of the same form and the same actions.
    """
    head = source.head()
    if {**head.spec(), "sigma": 0} != {**fresh.spec(), "sigma": 0}:
        return f"{source.name}: the head is drawn anew, since it has another form: {head.spec()}, not {fresh.spec()}"
    alike = list(source.card.actions) == list(actions)
    whole = part == "all"
    fresh.value.load_state_dict((head.value if whole else head.value[:-1]).state_dict(), strict=False)
    fresh.advantage.load_state_dict((head.advantage if whole and alike else head.advantage[:-1]).state_dict(), strict=False)
    if alike:
        return None
    return (
        f"{source.name}: {source.card.game} has the {head.out_features} actions {', '.join(source.card.actions)}, and the game has the "
        f"{len(actions)} actions {', '.join(actions)}; the last layer of the advantages is drawn anew"
    )


def save_policy(policy: Predictor, card: PolicyCard, folder: Path) -> None:
    """Write a policy; one network with one head becomes a model that ``Hub.open(folder)`` finds too."""
    folder.mkdir(parents=True, exist_ok=True)
    policy = copy.deepcopy(policy).cpu().eval()
    save_file({name: value.detach().clone().contiguous() for name, value in policy.state_dict().items()}, folder / WEIGHTS)
    content: dict[str, Any] = {"file": WEIGHTS, "policy": card.to_dict(), "predictor": policy.spec()}
    if isinstance(policy, Single):
        identity = policy.spec()["backbone"]
        content |= {name: identity[name] for name in ("architecture", "model_args", "pretrained_cfg")}
        content |= {
            "num_classes": 0,
            "prefixes": {TRUNK: "", HEAD: None},
            "card": {"pretraining": f"{card.game}, {card.steps:,} steps, score {card.score:.0f}", "paradigm": "reinforcement learning"},
        }
    path = folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', card.game)}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    for written in folder.iterdir():
        written.chmod(0o644)


def load_policy(folder: Path | str) -> tuple[Predictor, PolicyCard]:
    """Read a policy, ready to play.

    Args:
        folder: where ``save_policy`` wrote, a run's folder, or the policy's JSON.

    Raises:
        RunError: there is no policy, or a damaged one.
    """
    path = _description(Path(folder))
    content = _read(path)
    try:
        policy = KINDS[content["predictor"]["kind"]].from_spec(content["predictor"])
        load_exactly(policy, read_weights(path.parent / WEIGHTS))
        card = PolicyCard.from_dict(content["policy"])
    except (KeyError, TypeError, ModelError) as error:
        raise RunError(f"the policy in {path} cannot be read ({error}); train it again, or give another folder") from error
    return policy.eval(), card


def open_policies(places: Sequence[Path | str]) -> list[SourcePolicy]:
    """Policies to start from: of runs, of folders of policies, or single ones.

    Raises:
        RunError: a place holds no policy of one network.
        ConfigurationError: no place was given, or one policy twice.
    """
    if not places:
        raise ConfigurationError("no policies to start from were given; expected at least one folder: --from RUN")
    found: list[SourcePolicy] = []
    for place in places:
        root = Path(place).expanduser()
        root = root / "model" if (root / "record.json").exists() else root
        try:
            hub = Hub.open(root)
        except ModelError as error:
            raise RunError(f"{place} holds no policy of one network to start from ({error}); give the run of a training") from error
        for model in hub:
            file = Path(model.source)
            content = _read(file) if file.is_file() else {}
            if "policy" not in content:
                raise RunError(f"{file} describes a model that plays no game; give folders of policies")
            assert model.sha256 is not None
            try:
                card = PolicyCard.from_dict(content["policy"])
            except (KeyError, TypeError) as error:
                raise RunError(f"{file} describes its policy wrongly ({error!r}); run the command that made it again") from error
            found.append(SourcePolicy(name=card.game, card=card, sha256=model.sha256, hub=hub, model=model.name, file=file))
    if len({policy.sha256 for policy in found}) < len(found):
        raise ConfigurationError(f"a policy was given twice among {', '.join(map(str, places))}; expected different ones")
    names = [policy.name for policy in found]
    return [
        policy if names.count(policy.name) == 1 else dataclasses.replace(policy, name=f"{policy.name}-{policy.sha256[:6]}")
        for policy in found
    ]


def _description(folder: Path) -> Path:
    """The JSON of the one policy in a folder."""
    if folder.is_file():
        return folder
    folder = folder / "model" if (folder / "record.json").exists() else folder
    found = sorted(path for path in folder.glob("*.json") if path.name != "record.json")
    if not (folder / WEIGHTS).exists() or len(found) != 1:
        raise RunError(f"{folder} holds no policy; expected {WEIGHTS} and one JSON beside it: give the folder that 'hubtune rl' printed")
    return found[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); train the policy again, or give another folder") from error
    return content if isinstance(content, dict) else {}
