import pytest
import torch
import torch.nn.functional as F

from hubtune.transfer import L2TW, L2TWW
from hubtune.transfer.saliency import _to_canvas, saliency, saliency_pictures


@pytest.fixture
def maps_of(batch):
    """Both saliency maps of a learner on a few images."""

    def find(learner):
        learner._network.eval()
        target = learner.predictor().backbone
        return saliency(target, learner._network.matcher, learner._meta, learner._sources, batch(rows=4).canvas)

    return find


@pytest.mark.parametrize("sources", [("resnet-a",), ("resnet-a", "vit")])
def test_maps_sum_to_one_and_agree_while_w_is_uniform(make, maps_of, sources):
    learner = make(L2TWW, sources)
    for found in maps_of(learner):
        assert found.shape == (4, 16, 16)
        assert (found >= 0).all()
        torch.testing.assert_close(found.sum((1, 2)), torch.ones(4))
    a, b = maps_of(learner)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_only_f_of_the_last_pair_changes_them(make, maps_of):
    learner = make(L2TW)
    names = list(learner._meta.f)
    torch.nn.init.normal_(learner._meta.f[names[0]][0].weight)
    a, b = maps_of(learner)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    torch.nn.init.normal_(learner._meta.f[names[-1]][-1].weight)
    a, b = maps_of(learner)
    assert float((a - b).abs().max()) > 1e-4


def test_the_gradient_goes_back_through_view(hub):
    """Against finite differences of view itself, where it resizes: the derivative is by pixels on the scale 0 to 1."""
    backbone = hub.load("resnet-a", input_size=8)
    canvas = torch.randint(100, 150, (1, 3, 16, 16), dtype=torch.uint8)
    moved = canvas.clone()
    moved[0, 1, 5, 6] += 10
    gradient = torch.randn(1, 3, 8, 8)
    expected = (gradient * (backbone.view(moved) - backbone.view(canvas))).sum() / (10 / 255)
    torch.testing.assert_close(_to_canvas(gradient, backbone, canvas)[0, 1, 5, 6], expected, rtol=1e-3, atol=1e-4)


def test_pictures_show_what_matters_more_and_less():
    canvas = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    a, b = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    a[0, 0, 0], b[0, 3, 3] = 1, 1
    pictures = saliency_pictures(canvas, a, b)
    assert sorted(pictures) == ["saliency-0-image", "saliency-0-less", "saliency-0-more"]
    changed = {name: (picture != 50).any(0).nonzero().tolist() for name, picture in pictures.items()}
    assert changed["saliency-0-more"] == [[0, 0]]
    assert changed["saliency-0-less"] == [[3, 3]]
    assert F.mse_loss(pictures["saliency-0-image"].float(), canvas[0].float()) == 0
