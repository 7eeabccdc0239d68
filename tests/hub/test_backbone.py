"""From pixels to inputs, fingerprints, and the head beside the module."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from hubtune.errors import ConfigurationError, ModelError, UnknownNameError
from hubtune.hub import Backbone, Hub
from hubtune.hub.backbone import Preprocessing


@pytest.fixture
def backbone(zoo):
    return Hub.open(zoo).load("alpha")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 23), (9, 11), (16, 40)])
def test_the_squash_is_that_of_pil(interpolation, size):
    pixels = np.random.default_rng(0).integers(60, 190, (*size, 3), dtype=np.uint8)  # far from where PIL cuts overshoots off
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), method)).astype(np.float32)
    view = Preprocessing(input_size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation=interpolation)
    got = view(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0) * 255
    assert got.min() >= 0
    assert got.max() <= 255.001
    assert (got - torch.from_numpy(expected)).abs().max() < 1.6  # PIL rounds after each of the two directions


def test_nothing_is_resized_where_sizes_agree():
    canvas = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    view = Preprocessing(input_size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    expected = (canvas.double() / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(view(canvas), expected.float())
    assert canvas.dtype == torch.uint8


def test_a_view_of_one_image_depends_on_no_other(backbone):
    canvas = torch.randint(0, 256, (5, 3, 30, 21), dtype=torch.uint8)
    together = backbone.view(canvas)
    for row in range(5):
        assert torch.equal(together[row : row + 1], backbone.view(canvas[row : row + 1]))
    assert backbone.view(canvas[:0]).shape == (0, 3, 16, 16)


@pytest.mark.wrong_shapes
@pytest.mark.parametrize(
    "canvas", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)]
)
def test_other_images_are_refused(backbone, canvas):
    with pytest.raises(ModelError, match="expected torch.uint8"):
        backbone.view(canvas)


def test_all_mistakes_of_a_preprocessing_are_reported():
    with pytest.raises(ConfigurationError) as caught:
        Preprocessing(input_size=0, mean=(1, 2), std=(0, 1, 1), interpolation="nearest")  # type: ignore[arg-type]
    for field in ("input_size", "mean", "std", "interpolation"):
        assert f"{field} = " in str(caught.value)


def test_the_upstream_head_is_beside_the_module(backbone):
    x = torch.randn(2, 3, 16, 16)
    assert not [name for name, _ in backbone.named_parameters() if "linear" in name]
    assert not [name for name in backbone.state_dict() if "linear" in name]
    assert all(not p.requires_grad for p in backbone.upstream_head.parameters())
    assert torch.equal(backbone.logits(x), backbone.upstream_head(backbone.embed(x)))
    backbone.logits(x).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())
    assert all(p.grad is None for p in backbone.upstream_head.parameters())


def test_the_upstream_head_moves_and_copies_with_the_module(backbone):
    x = torch.randn(2, 3, 16, 16)
    for twin in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(twin.logits(x), backbone.logits(x))
        assert twin.fingerprint == backbone.fingerprint
        assert twin.upstream_head is not backbone.upstream_head
    assert backbone.double().logits(x.double()).dtype == torch.float64
    assert next(backbone.to("meta").upstream_head.parameters()).device.type == "meta"


def test_a_fingerprint_changes_with_all_that_outputs_depend_on(zoo, backbone):
    start = backbone.fingerprint
    assert start == Hub.open(zoo).load("alpha").fingerprint
    seen = {start}

    def changed(twin: Backbone) -> bool:
        new = twin.fingerprint not in seen
        seen.add(twin.fingerprint)
        return new

    with torch.no_grad():
        twin = copy.deepcopy(backbone)
        next(twin.parameters()).view(-1)[0] += 1e-6
        assert changed(twin)
        twin = copy.deepcopy(backbone)
        next(iter(twin.network.buffers())).view(-1)[0] += 1e-6
        assert changed(twin)
        twin = copy.deepcopy(backbone)
        twin.upstream_head.bias[0] += 1
        assert changed(twin)
    assert changed(Hub.open(zoo).load("alpha", input_size=24))
    for field in ({"mean": (0.5, 0.4, 0.31)}, {"std": (0.2, 0.25, 0.31)}, {"interpolation": "bicubic"}):
        twin = copy.deepcopy(backbone)
        twin.preprocessing = Preprocessing(**{**vars(twin.preprocessing), **field})
        assert changed(twin)
    twin = copy.deepcopy(backbone)
    twin.train().requires_grad_(False).to(memory_format=torch.channels_last)
    assert twin.fingerprint == start


def test_a_description_that_cannot_be_rebuilt_says_so(backbone):
    spec = backbone.spec()
    with pytest.raises(UnknownNameError, match="kind of backbone"):
        Backbone.from_spec({**spec, "kind": "pickle"})
    with pytest.raises(ModelError, match="expected what"):
        Backbone.from_spec({"kind": "timm"})
    with pytest.raises(UnknownNameError, match="architecture"):
        Backbone.from_spec({**spec, "architecture": "hf-hub:evil/model"})
    with pytest.raises(ModelError, match="checkpoint_path"):
        Backbone.from_spec({**spec, "model_args": {"checkpoint_path": "x"}})
