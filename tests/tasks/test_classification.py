import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from hubtune.errors import ConfigurationError, DataError, UnknownNameError
from hubtune.tasks import Classification, Split, accuracy_interval
from hubtune.tasks.store import ImageStore


def make(size=(4, 4), sizes=None, **changes):
    rng = np.random.default_rng(0)
    store = ImageStore([rng.integers(0, 256, (*(sizes[i] if sizes else size), 3), dtype=np.uint8) for i in range(9)])
    targets = torch.tensor([0, 1, 2] * 3)
    rows = {"train": range(3), "val": range(3, 6), "test": range(6, 9)}
    splits = {name: Split(store, part, targets[list(part)], [str(i) for i in part]) for name, part in rows.items()}
    return Classification(**{"name": "toy", "class_names": ("a", "b", "c"), **splits, **changes})


LOGITS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 1, 0])


def test_loss_is_minus_the_log_probability_of_each_target():
    expected = -LOGITS[0].softmax(-1)[range(5), TARGETS].log()
    torch.testing.assert_close(make().loss(LOGITS[0], TARGETS), expected)
    to_all = -LOGITS[0].log_softmax(-1).mean(-1)
    torch.testing.assert_close(make().loss(LOGITS[0], TARGETS, label_smoothing=0.2), 0.8 * expected + 0.2 * to_all)


def test_combining_averages_probabilities_whatever_the_order():
    task = make()
    combined = task.combine(list(LOGITS))
    torch.testing.assert_close(combined.softmax(-1), LOGITS.softmax(-1).mean(0))
    torch.testing.assert_close(task.combine(list(LOGITS.flip(0))), combined)
    torch.testing.assert_close(task.combine([LOGITS[0]]).softmax(-1), LOGITS[0].softmax(-1))
    with pytest.raises(ConfigurationError, match="no model"):
        task.combine([])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_metrics_agree_with_scikit_learn(pairs):
    true, predicted = torch.tensor(pairs).unbind(1)
    task = make(class_names=tuple("abcde"))
    scores = task.metrics(torch.nn.functional.one_hot(predicted, 5).float(), true)
    assert scores["accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    assert scores["macro_f1"] == pytest.approx(oracle.f1_score(true, predicted, average="macro", zero_division=0))
    recalls = [float((predicted[true == label] == label).double().mean()) for label in true.unique()]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert task.metric in scores


def test_loss_metric_and_extremes():
    perfect = make().metrics(torch.eye(3)[TARGETS] * 100, TARGETS)
    assert perfect == pytest.approx({"accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1, "loss": 0}, abs=1e-6)
    assert make().metrics(torch.zeros(5, 3), TARGETS)["loss"] == pytest.approx(math.log(3))
    with pytest.raises(DataError, match="no samples"):
        make().metrics(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


def test_a_head_starts_near_uniform_and_follows_the_seed():
    task = make()
    torch.manual_seed(0)
    body = SimpleNamespace(feature_dim=512)
    head = task.head(body)
    torch.manual_seed(0)
    assert torch.equal(task.head(body).weight, head.weight)
    assert head(torch.randn(7, 512)).shape == (7, 3)
    assert head.weight.detach().std().item() == pytest.approx(0.01, rel=0.1)
    assert not head.bias.any()


def test_no_augmentation_is_the_identity_and_targets_never_change():
    canvas, targets = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.tensor([2, 0, 1, 1])
    for name in ("none", "flip", "crop", "crop+flip"):
        out, same = make(augmentation=name).augment(canvas, targets, torch.Generator().manual_seed(0))
        assert torch.equal(same, targets)
        assert torch.equal(out, canvas) == (name == "none")
    with pytest.raises(UnknownNameError, match="did you mean 'crop"):
        make(augmentation="crops")


def test_labels_must_be_classes_and_classes_must_be_two():
    split = make().train
    wrong = Split(split.store, split.rows, torch.tensor([0, 3, 1]), split.ids)
    with pytest.raises(DataError, match=r"out of range in val: 3 at 1 .*expected 0 to 2"):
        make(val=wrong)
    with pytest.raises(DataError, match="one class only"):
        make(class_names=("a",))


def test_canvas_size_is_native_where_images_are_small_and_alike():
    assert make(size=(32, 20)).canvas_size([24, 32]) is None
    assert make(size=(32, 20)).canvas_size([31, 24]) == 31
    assert make(sizes=[(4, 4)] * 8 + [(4, 5)]).canvas_size([8, 6]) == 8
    assert make(sizes=[(4, 4)] * 8 + [(4, 5)]).native_size is None
    with pytest.raises(ConfigurationError, match="no input sizes"):
        make().canvas_size([])


def test_the_fingerprint_is_of_what_can_change_a_model():
    task = make()
    assert make(name="other", notes=("note",), source={"spec": "x"}).fingerprint == task.fingerprint
    different = [make(class_names=("a", "b", "d")), make(augmentation="flip"), task.take(train=2), make(val=task.train), make(size=(4, 5))]
    assert len({task.fingerprint, *(other.fingerprint for other in different)}) == 6


def test_take_keeps_first_rows_of_the_named_splits_and_notes_lost_classes():
    taken = make().take(train=2, test=99)
    assert {name: len(split) for name, split in taken.splits.items()} == {"train": 2, "val": 3, "test": 3}
    assert taken.notes == ("train has no images of 1 of 3 classes, no model can learn them: 'c'",)
    assert taken.take(train=1).notes[0] == taken.notes[0]
    assert make().take().fingerprint == make().fingerprint
    with pytest.raises(ConfigurationError, match="at least 1 row"):
        make().take(val=0)


def test_a_description_is_json():
    described = make().describe()
    assert json.loads(json.dumps(described)) == described
    assert described["sizes"] == {"train": 3, "val": 3, "test": 3}
    assert (described["kind"], described["num_classes"], described["native_size"]) == ("classification", 3, [4, 4])


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_accuracy_interval_is_wilsons(counts):
    correct, total = counts
    low, high = accuracy_interval(correct, total)
    expected = binomtest(correct, total).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((max(0, expected.low), min(1, expected.high)), abs=1e-9)
    assert 0 <= low <= correct / total <= high <= 1


@pytest.mark.parametrize("counts", [(0, 0), (2, 1), (-1, 4)])
def test_no_interval_without_samples(counts):
    with pytest.raises(ConfigurationError, match="expected at least one sample"):
        accuracy_interval(*counts)
