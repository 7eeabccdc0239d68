"""What ``record.json`` of a run may hold, as the report reads it: every part may be absent, unknown keys are ignored."""

import math
import unicodedata
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hubtune.errors import RunError

PartType = TypeVar("PartType", bound="Part")


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


class Request(Part):
    """What was asked."""

    data: str | None = None
    hub: str | None = None
    where: str | None = None
    method: str | None = None
    methods: list[str] = []
    strategy: str | None = None
    budget: int | None = None
    seed: int | None = None
    input_size: int | None = None
    precision: str | None = None
    config: dict[str, Any] = {}
    command: str | None = None


class Task(Part):
    """The labelled data."""

    name: str | None = None
    kind: str | None = None
    source: str | None = None
    metric: str = "accuracy"
    num_classes: int | None = None
    class_names: list[str] = []
    sizes: dict[str, int] = {}
    fingerprint: str | None = None
    notes: list[str] = []
    native_size: list[int] = []

    @field_validator("source", mode="before")
    @classmethod
    def _where_from(cls, value: Any) -> Any:
        """A training's record holds all the options with which its data were opened."""
        return value.get("spec") if isinstance(value, dict) else value


class Card(Part):
    """A pre-trained model as the hub describes it."""

    source: str | None = None
    architecture: str | None = None
    pretraining: str | None = None
    paradigm: str | None = None
    params: float | None = None
    flops: float | None = None
    input_size: int | None = None
    upstream_accuracy: float | None = None
    upstream_dataset: str | None = None
    license: str | None = None
    provenance: str | None = None
    sha256: str | None = None


class Row(Part):
    """One model of a search: its score, or why it has none."""

    name: str
    score: float | None = None
    rank: int | None = None
    seconds: float | None = None
    error: str | None = None
    late: bool = False
    """Whether the error is that time was up."""
    scores: dict[str, float] = {}
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    card: Card = Card()

    @property
    def place(self) -> tuple[bool, bool, float, str]:
        """What the table is sorted by: the rank, or the score where no ranks were kept; failures last."""
        key = self.rank if self.rank is not None else -(self.score or 0)
        return (self.error is not None, self.score is None and self.rank is None, key, self.name)


class Search(Part):
    """A search over the hub."""

    strategy: str | None = None
    budget: int | None = None
    seconds: float | None = None
    forward_passes: int | None = None
    expected_regret: float | None = None
    notes: list[str] = []
    picks: list[str] = []
    rows: list[Row] = []


class Chosen(Part):
    """The method and the models behind what is deployed."""

    method: str | None = None
    models: list[str] = []
    config: dict[str, Any] = {}


class Cell(Chosen):
    """One training."""

    id: str | None = None
    metrics: dict[str, float] = {}
    seconds: float | None = None
    chosen: bool = False


class Wrong(Part):
    """A test image that was misclassified, and how surely."""

    image: str | None = None
    id: str | None = None
    target: int
    label: int
    probability: float | None = None


class Model(Part):
    """The deployed model's folder inside the run."""

    folder: str = "model"
    format: str = "hubtune"
    license: str | None = None
    files: list[str] = []


class Difference(Part):
    """A mean paired difference with its 95 % interval."""

    mean: float
    low: float | None = None
    high: float | None = None


class Contestant(Part):
    """A row of a comparison: a method, or an analysis of what was trained anyway."""

    label: str
    method: str | None = None
    analysis: bool = False
    config: dict[str, Any] = {}
    mean: dict[str, float] = Field(default={}, description="by metric, over the seeds")
    spread: dict[str, float] = Field(default={}, description="standard deviation over the seeds")
    flops: float | None = Field(default=None, description="an image")
    seconds: float | None = Field(default=None, description="of all trainings that it is built on")
    difference: Difference | None = None
    error: str | None = None


class Comparison(Part):
    """Several methods on one task and one hub."""

    reference: str | None = None
    metric: str = "test_accuracy"
    seeds: list[int] = []
    models: list[str] = []
    rows: list[Contestant] = []

    @property
    def methods(self) -> list[Contestant]:
        """The methods that ended well, best first."""
        well = [row for row in self.rows if not row.analysis and self.score(row) is not None]
        return sorted(well, key=lambda row: -(self.score(row) or 0))

    def score(self, row: Contestant) -> float | None:
        return row.mean.get(self.metric)


class Quality(Part):
    """On the images that a model alone gets right: whether the one with the largest weight does."""

    by_weight: float
    at_random: float
    images: float | None = None


class Sample(Part):
    """A test image with its path weights, one for each model."""

    image: str | None = None
    id: str | None = None
    target: int | None = None
    label: int | None = None
    weights: list[float] = []


class Paths(Part):
    """Which models the test images pass through, under one method."""

    label: str | None = None
    models: list[str] = []
    weights: list[float] = []
    activated: list[float] = []
    quality: Quality | None = None
    samples: list[Sample] = []


class PointSample(Part):
    """A test image with predicted and true points drawn on it."""

    image: str | None = None
    id: str | None = None
    error: float | None = None


class Landmarks(Part):
    """The errors of predicted points."""

    thresholds: list[float] = Field(default=[], description="normalised mean errors")
    share: list[float] = Field(default=[], description="of the test images with an error up to each")
    samples: list[PointSample] = []


class Evaluated(Part):
    """What policies in training scored at a step, over the seeds."""

    step: float
    mean: float
    spread: float = 0.0


class PolicyGroup(Part):
    """Trainings that differ by their seeds alone."""

    label: str
    seeds: list[int] = []
    scores: list[float] = Field(default=[], description="of each seed")
    mean: float | None = None
    spread: float = 0.0
    human_normalised: float | None = None
    steps: list[float] = []
    curve: list[float] = Field(default=[], description="mean score of the last games at each of the steps")
    curve_spread: list[float] = []
    evaluated: list[Evaluated] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.steps) == len(self.curve) == len(self.curve_spread):
            raise ValueError(f"given {len(self.steps)} steps, {len(self.curve)} means and {len(self.curve_spread)} spreads of one curve")
        return self


class Played(Part):
    """One game of the last evaluation."""

    score: float
    steps: float | None = None
    cut: bool = False


class Play(Part):
    """What policies learnt in a game."""

    actions: list[str] = []
    video: str | None = None
    episodes: list[Played] = []
    steps_per_second: float | None = None
    groups: list[PolicyGroup] = []


class Layer(Part):
    """A feature map of a network."""

    name: str
    size: list[int] = Field(default=[], description="channels, height, width")

    @property
    def shape(self) -> str:
        return "\N{MULTIPLICATION SIGN}".join(map(str, self.size))


class Network(Part):
    """One side of a transfer."""

    name: str | None = None
    layers: list[Layer] = []


class MatchedPair(Part):
    """A source layer and a target layer, by position, and what was learnt about them over the training."""

    source: int = Field(ge=0)
    source_layer: int = Field(ge=0)
    target_layer: int = Field(ge=0)
    lambda_mean: list[float] = []
    lambda_std: list[float] = []
    channels: int | None = None
    top_channels: list[tuple[int, float]] = Field(default=[], description="channel and its share of the weight")

    @property
    def amount(self) -> float:
        """How much was transferred in the end; 1 where that was not learnt."""
        return self.lambda_mean[-1] if self.lambda_mean else 1.0


class Matching(Part):
    """What was transferred where."""

    sources: list[Network] = []
    target: Network = Network()
    progress: list[float] = Field(default=[], description="where in the training the lambdas were seen")
    pairs: list[MatchedPair] = []
    where: bool | None = Field(default=None, description="whether the amount of each pair was learnt; unknown where not said")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for pair in self.pairs:
            layers = self.sources[pair.source].layers if pair.source < len(self.sources) else []
            if pair.source_layer >= len(layers) or pair.target_layer >= len(self.target.layers):
                raise ValueError("given a pair of layers of which one is not listed")
            if not len(pair.lambda_mean) == len(pair.lambda_std) == len(self.progress) * bool(pair.lambda_mean):
                raise ValueError("given lambdas that do not belong to the moments in the training")
        return self


class Summary(Part):
    """What the chosen training found beside weights and metrics."""

    matching: Matching | None = None


class Record(Part):
    """A run. Rooms that add a section add their part here."""

    home: Path = Field(default=Path(), description="where the run lives; not read from the file, which may have been moved")
    kind: str = "tune"
    created: str | None = None
    hubtune: str | None = None
    seconds: float | None = None
    request: Request = Request()
    task: Task = Task()
    search: Search | None = None
    cells: list[Cell] = []
    chosen: Chosen | None = None
    metrics: dict[str, float] = {}
    history: list[dict[str, Any]] = []
    histories: dict[str, list[dict[str, Any]]] = {}
    confusion: list[list[float]] = Field(default=[], description="rows: truth")
    wrong: list[Wrong] = []
    model: Model | None = None
    comparison: Comparison | None = None
    paths: list[Paths] = []
    landmarks: Landmarks | None = None
    play: Play | None = None
    summary: Summary = Summary()
    pictures: list[str] = Field(default=[], description="names of the files pictures/NAME.png")
    environment: dict[str, Any] = {}
    warnings: list[str] = []

    @field_validator("confusion")
    @classmethod
    def _square(cls, confusion: list[list[float]]) -> list[list[float]]:
        if any(len(row) != len(confusion) for row in confusion):
            raise ValueError(f"given {len(confusion)} rows that are not all {len(confusion)} long, expected a square table")
        if any(count < 0 for row in confusion for count in row):
            raise ValueError("given a negative count, expected counts of images")
        return confusion

    def class_name(self, index: int) -> str:
        """The name of a class, or its number where the record names none."""
        return self.task.class_names[index] if 0 <= index < len(self.task.class_names) else f"class {index}"

    def card(self, model: str) -> Card:
        """The card of a model of the search; an empty one where it is not known."""
        rows = self.search.rows if self.search else []
        return next((row.card for row in rows if row.name == model), Card())


def _clean(value: Any) -> Any:
    """Absent and null are the same; NaN and infinity are absent; characters that no page or terminal should get are replaced."""
    if isinstance(value, dict):
        cleaned = {_clean(str(key)): _clean(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}" for c in value)
    return value


def _validated(part: type[PartType], values: Any, what: str) -> PartType:
    try:
        return part.model_validate(_clean(values))
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}, given {str(e['input'])[:60]!r}" for e in error.errors()]
        shown = "; ".join(mistakes[:8]) + (f"; and {len(mistakes) - 8} more" if len(mistakes) > 8 else "")
        raise RunError(f"{what} is damaged: {shown}; run the command that made it again") from error


def parse(record: dict[str, Any], home: Path = Path()) -> Record:
    """Check a run's record and fill in what it leaves out.

    Args:
        record: what ``record.json`` holds.
        home: the run's folder.

    Raises:
        RunError: a part is there but is not what it should be; all such parts are named.
    """
    return _validated(Record, record | {"home": str(home.resolve())}, "the run's record")


def parse_rows(rows: list[dict[str, Any]]) -> list[Row]:
    """Check the rows of a search alone.

    Raises:
        RunError: a row is not what it should be.
    """
    return list(_validated(Search, {"rows": rows}, "the search").rows)
