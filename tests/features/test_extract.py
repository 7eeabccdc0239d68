import pytest
import torch

from hubtune.errors import ModelError
from hubtune.features import extract


def test_features_are_those_of_the_model_in_order(task, hub):
    backbone = hub.load("resnet-a")
    features = extract(backbone, task.train, None)
    with torch.inference_mode():
        expected = backbone.embed(backbone.view(task.train.canvas(range(len(task.train)), None)))
        logits = backbone.classify(expected)
    torch.testing.assert_close(features.embeddings, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features.logits, logits, atol=1e-5, rtol=1e-4)
    assert features.computed == len(task.train)


def test_a_cache_hit_changes_nothing(task, hub):
    first, second = (extract(hub.load("vit"), task.val, None) for _ in range(2))
    assert second.computed == 0
    assert torch.equal(first.embeddings, second.embeddings)
    assert torch.equal(first.logits, second.logits)


def test_other_weights_and_other_sizes_are_other_features(task, hub):
    extract(hub.load("resnet-a"), task.val, None)
    assert extract(hub.load("resnet-b"), task.val, None).computed == len(task.val)
    assert extract(hub.load("resnet-a", input_size=24), task.val, None).computed == len(task.val)
    assert extract(hub.load("resnet-a"), task.val, None).computed == 0


def test_rows_in_another_order_are_known(task, hub):
    whole = extract(hub.load("resnet-a"), task.train, None)
    order = [5, 3, 3, 30]
    part = extract(hub.load("resnet-a"), task.train.select(order), None)
    assert part.computed == 0
    assert torch.equal(part.embeddings, whole.embeddings[order])


def test_what_was_done_before_an_interruption_is_kept(task, hub):
    def stop(images):
        if images == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(hub.load("vit", input_size=16), task.train, None, batch_size=10, on_progress=stop)
    assert extract(hub.load("vit", input_size=16), task.train, None).computed == 26


def test_memory_that_runs_out_halves_the_batch(task, hub, monkeypatch):
    backbone = hub.load("resnet-a")
    expected = extract(hub.load("resnet-a", input_size=17), task.val, None)
    real = type(backbone).embed

    def small_only(self, x):
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, x)

    monkeypatch.setattr(type(backbone), "embed", small_only)
    with pytest.warns(RuntimeWarning, match="memory ran out"):
        features = extract(backbone, task.val, None)
    assert features.embeddings.shape == expected.embeddings.shape
    monkeypatch.setattr(type(backbone), "embed", lambda self, x: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(ModelError, match="smaller input_size"), pytest.warns(RuntimeWarning):
        extract(hub.load("resnet-b"), task.val, None)
