from itertools import islice

import pytest
import torch

from hubtune.errors import ConfigurationError, DataError
from hubtune.proxies import linear_fit, linear_probe
from hubtune.proxies.sgd import minibatches

SETTINGS = {"learning_rates": [0.1, 0.01], "steps": 60, "batch_size": 16, "momentum": 0.9, "seeds": [5, 6, 7]}


def plain(rows, labels, num_classes, rate, seed, *, steps, batch_size, momentum):
    """torch's own SGD on torch's own layer and loss, one run at a time."""
    layer = torch.nn.Linear(rows.shape[1], num_classes, dtype=rows.dtype)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=momentum)
    for index in islice(minibatches(len(rows), min(batch_size, len(rows)), seed), steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(rows[index]), labels[index]).backward()
        optimizer.step()
    return layer.weight.detach(), layer.bias.detach()


@pytest.mark.parametrize("shape", [(40, 30, 30), (40, 20, 20), (40, 19, 19), (60, 7, 7), (12, 30, 30), (30, 45, 5)])
def test_every_run_is_plain_sgd(draw_sample, shape):
    rows, labels = draw_sample(*shape, seed=9)
    weights, biases = linear_fit(rows, labels, 5, **SETTINGS)
    assert weights.shape == (3, 2, 5, shape[1])
    assert biases.shape == (3, 2, 5)
    for run, seed in enumerate(SETTINGS["seeds"]):
        for column, rate in enumerate(SETTINGS["learning_rates"]):
            weight, bias = plain(rows, labels, 5, rate, seed, steps=60, batch_size=16, momentum=0.9)
            logits = rows @ weight.T + bias
            torch.testing.assert_close(rows @ weights[run, column].T + biases[run, column], logits, rtol=0, atol=1e-10)
            torch.testing.assert_close(weights[run, column], weight, rtol=0, atol=1e-10)


def test_a_long_run_stays_below_1e_8(draw_sample):
    rows, labels = draw_sample(50, 60, 60, seed=9)
    weight, bias = linear_probe(rows, labels, 4, learning_rate=0.1, steps=400, batch_size=32, seed=1)
    expected, intercept = plain(rows, labels, 4, 0.1, 1, steps=400, batch_size=32, momentum=0.9)
    assert float((rows @ (weight - expected).T + bias - intercept).abs().max()) < 1e-8


def test_runs_do_not_depend_on_their_company(draw_sample):
    rows, labels = draw_sample(40, 30, 30, seed=9)
    together, _ = linear_fit(rows, labels, 4, **SETTINGS)
    for run, seed in enumerate(SETTINGS["seeds"]):
        alone, _ = linear_probe(rows, labels, 4, learning_rate=0.01, steps=60, batch_size=16, momentum=0.9, seed=seed)
        torch.testing.assert_close(together[run, 1], alone, rtol=0, atol=1e-12)


def test_numbering_of_the_classes_is_free(draw_sample):
    rows, labels = draw_sample(40, 30, 30, seed=9)
    order = torch.tensor([2, 0, 3, 1])
    weight, bias = linear_probe(rows, labels, 4, steps=40)
    moved, moved_bias = linear_probe(rows, order[labels], 4, steps=40)
    torch.testing.assert_close(moved[order], weight)
    torch.testing.assert_close(moved_bias[order], bias)


def test_float32_stays_float32_and_agrees(draw_sample):
    rows, labels = draw_sample(40, 30, 30, seed=9)
    single, _ = linear_probe(rows.float(), labels, 4, steps=100)
    double, _ = linear_probe(rows, labels, 4, steps=100)
    assert single.dtype == torch.float32
    assert linear_probe(rows.half(), labels, 4, steps=1)[0].dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


def test_the_head_can_be_trained_on(draw_sample):
    rows, labels = draw_sample(40, 6, 6, seed=9)
    weight, bias = linear_probe(rows.requires_grad_(), labels, 4, steps=5)
    head = torch.nn.Linear(6, 4, dtype=torch.float64)
    head.load_state_dict({"weight": weight, "bias": bias})
    torch.nn.functional.cross_entropy(head(rows), labels).backward()
    assert head.weight.grad is not None


@pytest.mark.parametrize(("count", "size"), [(10, 4), (10, 10), (7, 2), (5, 1)])
def test_minibatches_are_permutations_cut_without_the_rest(count, size):
    per_epoch = count // size
    drawn = list(islice(minibatches(count, size, seed=3), 3 * per_epoch))
    assert all(len(rows) == size for rows in drawn)
    for epoch in range(3):
        rows = torch.cat(drawn[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(rows.unique()) == per_epoch * size
        assert rows.max() < count
    again = list(islice(minibatches(count, size, seed=3), 3 * per_epoch))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_the_global_generator_is_left_alone(draw_sample):
    rows, labels = draw_sample(20, 6, 6, seed=9)
    before = torch.get_rng_state()
    linear_probe(rows, labels, 4, steps=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_overflow_is_an_error_not_a_nan():
    with pytest.raises(DataError, match=r"SGD overflows .* scale the features down"):
        linear_probe(torch.eye(4) * 1e30, torch.tensor([0, 1, 0, 1]), 2, steps=3)


def test_all_mistakes_are_told_at_once(draw_sample):
    rows, labels = draw_sample(20, 6, 6, seed=9)
    with pytest.raises(ConfigurationError) as caught:
        linear_fit(rows, labels, 3, learning_rates=[0.0], steps=0, batch_size=0, momentum=1.0, seeds=[])
    for word in ("num_classes: 3", "learning_rates", "steps", "batch_size", "momentum", "seeds"):
        assert word in str(caught.value)
