import pytest
import torch

import hubtune as ht
from hubtune.pathway.ensemble import EnsemblePredictor, vote
from hubtune.training.predictor import Single

SGD = {"optimizer": "sgd", "schedule": "step", "warmup": 0.0}
BASE = {"steps": 6, "batch_size": 12, "learning_rates": [0.01], **SGD}


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_vote_follows_the_majority_and_the_mean_decides_between_equals():
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.1, 0.0]])
    assert vote([sure, unsure, unsure]).argmax(1).item() == 1
    assert vote([sure, unsure]).argmax(1).item() == 0
    probabilities = vote([logits(7, 3, seed=i) for i in range(4)]).exp()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7))
    certain = torch.tensor([[200.0, 0.0, 1.0]])
    assert vote([certain, certain]).isfinite().all()


def test_an_ensemble_is_the_tasks_combination_of_its_members(task, hub):
    members = [Single(backbone, task.head(backbone)) for backbone in map(hub.load, hub.names)]
    canvas = task.test.canvas(range(6), None)
    ensemble = EnsemblePredictor(members, task.kind).eval()
    with torch.no_grad():
        expected = torch.stack([member(canvas).softmax(1) for member in members]).mean(0)
        torch.testing.assert_close(ensemble(canvas).softmax(1), expected)
        fresh = EnsemblePredictor.from_spec(ensemble.spec())
        fresh.load_state_dict(ensemble.state_dict())
        assert torch.equal(fresh.eval()(canvas), ensemble(canvas))
        swapped = EnsemblePredictor(members[::-1], task.kind).eval()
        torch.testing.assert_close(swapped(canvas), ensemble(canvas))


def test_the_fine_tunings_are_cells_that_all_methods_share(task, hub):
    hub = hub.subset(["resnet-a", "vit"])
    everyone = ht.tune(task, hub, method=ht.Ensemble(base_config=BASE), workers=1)
    [cell] = everyone.record["cells"]
    assert cell["models"] == ["resnet-a", "vit"]
    votes = ht.tune(task, hub, method=ht.Ensemble(base_config=BASE, vote=True), workers=1)
    best = ht.tune(task, hub, method=ht.EnsembleTopK(base_config=BASE, top_k=1), workers=1)
    alone = ht.tune(task, hub, method=ht.FineTune(**BASE), workers=1)
    assert best.metrics["test_accuracy"] == pytest.approx(alone.metrics["test_accuracy"])
    assert best.metrics["test_loss"] == pytest.approx(alone.metrics["test_loss"], rel=1e-4)
    from hubtune.runs import runs_folder

    # Two fine-tunings, three ensembles: what one method needed, another did not compute again.
    assert len(list(runs_folder().glob("cells/[0-9a-f]*/record.json"))) == 5
    images = task.test.canvas(range(30), None).permute(0, 2, 3, 1).numpy()
    for run in (everyone, votes, best):
        p = ht.load(run.path).predict(images)
        assert p.path is None
        right = [task.class_names.index(label) == int(target) for label, target in zip(p.labels, task.test.targets, strict=True)]
        assert sum(right) / 30 == pytest.approx(run.metrics["test_accuracy"])


def test_a_model_that_cannot_be_trained_is_left_out_with_a_warning(task, hub):
    hub = hub.subset(["resnet-a", "vit"])
    broken = hub.load("vit").network
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(torch.nan)
    hub = hub.subset(["resnet-a"]).add(broken, {"name": "broken", "input_size": 16})
    run = ht.tune(task, hub, method=ht.Ensemble(base_config=BASE), workers=1)
    assert any("broken" in warning for warning in run.record["warnings"])
    assert run.metrics["test_accuracy"] > 0.3
