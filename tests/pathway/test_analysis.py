import pytest
import torch

import hubtune as ht
from hubtune.errors import ConfigurationError
from hubtune.pathway.analysis import Rights, best_single, oracle, read_rights, weight_quality

TEST = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0]], dtype=torch.bool)
VAL = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool)


def test_best_single_is_chosen_on_validation_and_the_bound_on_test():
    found = best_single(Rights(("a", "b"), VAL, TEST))
    assert (found.by_validation, found.accuracy) == ("a", pytest.approx(0.4))
    assert (found.by_test, found.accuracy_by_test) == ("b", pytest.approx(0.6))


def test_the_oracle_is_right_wherever_one_model_is():
    assert oracle(TEST) == pytest.approx(0.8)
    assert oracle(TEST) >= float(TEST.double().mean(1).max())


@pytest.mark.wrong_shapes
def test_the_quality_of_weights_counts_images_that_somebody_solves():
    path = torch.tensor([[0.9, 0.0], [0.5, 0.4], [0.3, 0.2], [0.1, 0.6], [0.7, 0.1]])
    found = weight_quality(path, TEST)
    assert found.images == 4
    assert found.by_weight == pytest.approx(3 / 4)
    assert found.at_random == pytest.approx(5 / 8)
    best = weight_quality(TEST.T.float(), TEST)
    assert best.by_weight == 1
    with pytest.raises(ConfigurationError, match=r"\(N, m\)"):
        weight_quality(path.T, TEST)


def test_finished_trainings_are_read(task, hub):
    run = ht.tune(task, hub.subset(["resnet-a", "vit"]), method="linear-probe", workers=1)
    from pathlib import Path

    cells = [Path(cell["path"]) for cell in run.record["cells"]]
    rights = read_rights(cells, task)
    assert rights.names == ("resnet-a", "vit")
    assert best_single(rights).accuracy == pytest.approx(run.metrics["test_accuracy"])
    with pytest.raises(ConfigurationError, match="expected 'colours' as it is now"):
        read_rights(cells, task.take(test=20))
    with pytest.raises(ConfigurationError, match="no trainings"):
        read_rights([], task)
