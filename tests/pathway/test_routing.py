import pytest
import torch

from hubtune.pathway.aggregator import Aggregator
from hubtune.pathway.routing import route, spread, top_k


def weights_of(rows=7, models=5, seed=0):
    return torch.rand(rows, models, generator=torch.Generator().manual_seed(seed)).softmax(1)


class Affine:
    """x -> a mean(x) + b, in 2 outputs, counting its rows."""

    def __init__(self, factor):
        self.factor = factor
        self.rows = 0

    def __call__(self, canvas):
        self.rows += len(canvas)
        return self.factor * canvas.float().mean((1, 2, 3))[:, None] + torch.tensor([0.0, 1.0])


CANVAS = torch.randint(0, 256, (7, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_exactly_k_weights_stay_as_they_are(k):
    weights = weights_of()
    dense = top_k(weights, k).dense(5)
    assert ((dense > 0).sum(1) == k).all()
    assert torch.equal(dense[dense > 0], weights[dense > 0])
    assert (weights.masked_fill(dense > 0, -1).amax(1) <= weights.masked_fill(dense == 0, 2).amin(1)).all()


def test_of_equal_weights_the_first_models_are_taken():
    assert top_k(torch.full((2, 4), 0.25), 2).models.tolist() == [[0, 1], [0, 1]]


def test_a_weight_that_underflows_is_still_a_path():
    weights = torch.tensor([[0.0, -300.0, -400.0]]).softmax(1)
    assert weights[0, 1] == 0
    dense = top_k(weights, 2).dense(3)
    assert (dense > 0).tolist() == [[True, True, False]]
    assert dense.sum() == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_each_model_runs_on_its_own_rows_and_outputs_come_back_to_their_places(k):
    networks = [Affine(float(i)) for i in range(5)]
    models = top_k(weights_of(), k).models
    outputs = route(networks, CANVAS, models)
    assert sum(network.rows for network in networks) == 7 * k
    for b in range(7):
        for j in range(k):
            torch.testing.assert_close(outputs[b, j], Affine(float(models[b, j]))(CANVAS[b : b + 1])[0])


def test_a_model_that_no_image_chose_is_not_run_and_one_row_is_enough():
    networks = [Affine(1.0), lambda canvas: pytest.fail("a blocked model was run"), Affine(2.0)]
    models = torch.tensor([[0]] * 6 + [[2]])
    assert route(networks, CANVAS, models).shape == (7, 1, 2)
    assert networks[2].rows == 1


def test_outputs_with_places_are_routed_alike():
    networks = [lambda canvas, i=i: i + canvas[:, :2].float() for i in range(3)]
    models = top_k(weights_of(models=3), 2).models
    outputs = route(networks, CANVAS, models)
    assert outputs.shape == (7, 2, 2, 4, 4)
    weighted = spread(outputs, models, 3)
    assert Aggregator(3, 2)(weighted).shape == (7, 2, 4, 4)
    torch.testing.assert_close(Aggregator(3, 2)(weighted), weighted.sum(1))


@pytest.mark.parametrize("k", [2, 3])
def test_gradients_flow_back_through_the_routing(k):
    x = torch.randn(7, 1, requires_grad=True)
    models = top_k(weights_of(models=3), k).models
    outputs = route([lambda rows, i=i: (i + 1) * rows for i in range(3)], x, models)
    outputs.sum().backward()
    torch.testing.assert_close(x.grad[:, 0], (models + 1).sum(1).float())


def test_the_aggregator_starts_as_a_sum_or_at_random():
    z = torch.randn(4, 3, 2)
    torch.testing.assert_close(Aggregator(3, 2)(z), z.sum(1))
    torch.manual_seed(0)
    assert not torch.allclose(Aggregator(3, 2, "random")(z), z.sum(1))


def test_permuting_models_permutes_the_aggregators_blocks():
    torch.manual_seed(0)
    first, second = Aggregator(3, 2, "random"), Aggregator(3, 2)
    order = [2, 0, 1]
    second.linear.weight.data = first.linear.weight.data.unflatten(1, (3, 2))[:, order].flatten(1)
    second.linear.bias.data = first.linear.bias.data
    z = torch.randn(4, 3, 2)
    torch.testing.assert_close(second(z[:, order]), first(z))
