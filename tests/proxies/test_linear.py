import statistics

import pytest
import torch

from hubtune.errors import ConfigurationError, DataError
from hubtune.proxies import Features, linear_accuracy, linear_probe

SHORT = {"steps": 50, "batch_size": 32}


@pytest.fixture
def case(draw_sample):
    rows, labels = draw_sample(100, 6, 6, seed=6)
    return rows[:60], labels[:60], rows[60:], labels[60:]


def test_is_the_better_median_of_single_runs(case):
    train, labels, val, wanted = case
    medians = []
    for rate in (0.1, 0.01):
        scores = []
        for run in range(3):
            weight, bias = linear_probe(train, labels, 4, learning_rate=rate, seed=7 * 1_000_003 + run, **SHORT)
            scores.append(float(((val @ weight.T + bias).argmax(1) == wanted).double().mean()))
        medians.append(statistics.median(scores))
    assert linear_accuracy(*case, runs=3, seed=7, **SHORT) == pytest.approx(max(medians), abs=1e-12)


def test_the_papers_protocol_is_the_default(case, monkeypatch):
    import sys

    seen = {}

    def fit(features, labels, num_classes, **options):
        seen.update(options)
        return torch.zeros(5, 2, num_classes, 6), torch.zeros(5, 2, num_classes)

    monkeypatch.setattr(sys.modules["hubtune.proxies.linear"], "linear_fit", fit)
    linear_accuracy(*case)
    assert seen == {"learning_rates": (0.1, 0.01), "steps": 2500, "batch_size": 512, "momentum": 0.9, "seeds": [0, 1, 2, 3, 4]}


def test_seeds_decide_and_share_no_runs(case):
    assert linear_accuracy(*case, seed=1, **SHORT) == linear_accuracy(*case, seed=1, **SHORT)
    scores = {linear_accuracy(*case, seed=seed, runs=1, steps=4, batch_size=8) for seed in range(6)}
    assert len(scores) > 1


def test_an_even_number_of_runs_takes_the_mean_of_the_middle_two(case):
    alone = [linear_accuracy(*case, runs=1, seed=0, steps=4, batch_size=8, learning_rates=[0.1])]
    both = linear_accuracy(*case, runs=2, seed=0, steps=4, batch_size=8, learning_rates=[0.1])
    train, labels, val, wanted = case
    weight, bias = linear_probe(train, labels, 4, learning_rate=0.1, seed=1, steps=4, batch_size=8)
    alone.append(float(((val @ weight.T + bias).argmax(1) == wanted).double().mean()))
    assert both == pytest.approx(sum(alone) / 2)


def test_prepared_half_and_double_features(case):
    train, labels, val, wanted = case
    expected = linear_accuracy(*case, **SHORT)
    assert linear_accuracy(Features(train), labels, val, wanted, **SHORT) == expected
    assert linear_accuracy(train.half(), labels, val.half(), wanted, **SHORT) == pytest.approx(expected, abs=0.06)


def test_classes_missing_on_either_side(case):
    train, labels, val, wanted = case
    kept = wanted != 2
    assert 0.0 <= linear_accuracy(train, labels, val[kept], wanted[kept], **SHORT) <= 1.0
    assert linear_accuracy(train, labels, val, torch.full_like(wanted, 9), **SHORT) == 0.0


@pytest.mark.wrong_shapes
def test_bad_input_is_refused(case):
    train, labels, val, wanted = case
    with pytest.raises(ConfigurationError, match="runs: 0"):
        linear_accuracy(*case, runs=0)
    with pytest.raises(DataError, match="val_features"):
        linear_accuracy(train, labels, val[:, :3], wanted)
    with pytest.raises(DataError, match="all 60 images are of class 1"):
        linear_accuracy(train, torch.ones_like(labels), val, wanted)
