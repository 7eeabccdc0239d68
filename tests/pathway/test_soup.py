import dataclasses

import pytest
import torch

import hubtune as ht
from hubtune.errors import ConfigurationError
from hubtune.pathway.alike import check_alike
from hubtune.pathway.batch_norm import batch_norms, reestimate
from hubtune.pathway.soup import average, check_one_start

BASE = {"steps": 6, "batch_size": 12, "head_first": False, "optimizer": "sgd", "schedule": "step", "warmup": 0.0}


def test_an_average_of_equal_networks_is_that_network(hub):
    state = hub.load("resnet-a").state_dict()
    for name, value in average([state, state, state]).items():
        torch.testing.assert_close(value, state[name])


def test_an_average_is_the_mean_of_each_weight():
    states = [{"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}, {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(9)}]
    found = average(states)
    assert found["w"].tolist() == [2.0, 4.0]
    assert found["n"] == 3


@pytest.mark.wrong_shapes
def test_statistics_are_estimated_anew_as_plain_averages():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout())
    batches = [torch.randn(5, 2, 3, 3) + i for i in range(4)]
    reestimate(network, batches)
    [norm] = batch_norms(network)
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))
    assert norm.momentum == 0.1
    assert not network.training
    reestimate(network, [])
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))


def test_different_architectures_or_starts_are_refused_in_words(hub):
    with pytest.raises(ConfigurationError, match=r"different architectures.*cifar_resnet8.*name one model"):
        check_one_start(hub.subset(["resnet-a", "vit"]), any_start=False)
    both = hub.subset(["resnet-a", "resnet-b"])
    with pytest.raises(ConfigurationError, match=r"pre-trained differently: resnet-a, resnet-b.*any_start"):
        check_one_start(both, any_start=False)
    check_one_start(both, any_start=True)
    check_one_start(hub.subset(["resnet-a"]), any_start=False)


def test_one_architecture_with_different_preprocessing_is_refused_too():
    """What no card tells is found once the models are loaded."""
    from hubtune.hub import Backbone

    plain, other = (Backbone.from_spec(ht.Hub.open("demo").load("resnet8_dots").spec()) for _ in range(2))
    check_alike([plain, plain], "a soup", "name one model")
    object.__setattr__(other, "preprocessing", dataclasses.replace(plain.preprocessing, mean=(0.1, 0.2, 0.3)))
    with pytest.raises(ConfigurationError, match=r"a soup was asked of different architectures or preprocessings.*name one model"):
        check_alike([plain, other], "a soup", "name one model")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (ht.SoupGreedy(base_config=BASE), "different architectures"),
        (ht.ZooTuning(), "zoo-tuning was asked of different architectures.*hub-pathway"),
        (ht.Distill(student="nobody"), "nobody"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(task, hub, tmp_path, monkeypatch, method, message):
    monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path))
    with pytest.raises(ht.HubTuneError, match=message):
        ht.tune(task, hub.subset(["resnet-a", "vit"]), method=method, workers=1)
    assert not list(tmp_path.rglob("record.json"))


def test_soups_of_one_model(task, hub):
    one = hub.subset(["resnet-a"])
    rates = {"learning_rates": (0.02, 0.01), "base_config": BASE}
    uniform = ht.tune(task, one, method=ht.SoupUniform(**rates), workers=1)
    greedy = ht.tune(task, one, method=ht.SoupGreedy(**rates), workers=1)
    alone = ht.tune(task, one, method=ht.FineTune(**BASE, learning_rates=(0.02, 0.01)), workers=1)
    assert greedy.metrics["val_accuracy"] >= alone.metrics["val_accuracy"]
    for run in (uniform, greedy):
        assert ht.load(run.path).predict(task.test.canvas(range(3), None).permute(0, 2, 3, 1).numpy()).probabilities.shape == (3, 3)
