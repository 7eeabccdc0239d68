import copy
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hubtune.errors import ConfigurationError, ModelError
from hubtune.training.loop import CHECK_EVERY, Diverged
from hubtune.training.runtime import Runtime
from hubtune.training.supervised import Optimization, SupervisedLearner
from hubtune.transfer import L2TW, L2TWW, FeatureMatching
from hubtune.transfer.feature_matcher import weighted
from hubtune.transfer.networks import make_target

SMALL = {"target": "cifar_resnet8", "target_input_size": 16, "learning_rates": (0.05,), "steps": 10}


def weights(learner):
    return [value.clone() for value in learner.predictor().state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def everything(learner):
    """All tensors of a learner's state, in order."""
    found = []

    def walk(value):
        if isinstance(value, torch.Tensor):
            found.append(value.clone())
        elif isinstance(value, dict):
            [walk(value[key]) for key in value]
        elif isinstance(value, list):
            [walk(item) for item in value]
        else:
            found.append(torch.tensor(float(value)) if isinstance(value, int | float) else torch.zeros(()))

    walk(learner.state_dict())
    return found


def amounts(learner, batch):
    return learner._meta(learner._meta.pool(learner._sources(batch.canvas)))


def perturb(learner):
    """Move the meta-networks away from their first values, where w is uniform."""
    torch.manual_seed(5)
    for p in learner._meta.parameters():
        p.data.add_(0.1 * torch.randn_like(p))


@pytest.mark.parametrize("method", [L2TW, L2TWW])
def test_w_sums_to_one_and_lambda_lies_in_zero_to_six(make, batch, method):
    learner = make(method)
    perturb(learner)
    found = amounts(learner, batch())
    for ws in found.channels.values():
        for w in ws:
            torch.testing.assert_close(w.sum(1), torch.ones(len(w)))
    lambdas = torch.cat(list(found.pairs.values()), 1)
    assert ((lambdas >= 0) & (lambdas <= 6)).all()
    assert method is L2TWW or (lambdas == 1).all()


def test_at_first_w_is_uniform(make, batch):
    for ws in amounts(make(L2TWW), batch()).channels.values():
        for w in ws:
            torch.testing.assert_close(w, torch.full_like(w, 1 / w.shape[1]))


def test_beta_zero_is_training_from_scratch_bit_for_bit(make, task, batch, setting):
    learner = make(L2TWW, beta=0.0)
    scratch = SupervisedLearner(
        make_target("cifar_resnet8", 16, task, setting.seed),
        task,
        steps=10,
        optimization=Optimization(learning_rate=0.05, weight_decay=1e-4, schedule="cosine"),
        runtime=setting.runtime,
    )
    for i in range(3):
        learner.step(batch(i), i / 10)
        scratch.step(batch(i), i / 10)
    assert same(weights(learner), weights(scratch))


def test_uniform_w_and_lambda_one_equal_feature_matching(make, batch):
    # No step of the meta-networks falls into the test, so w stays uniform; with g's weights zero lambda is its bias.
    learner, matching = make(L2TWW, meta_interval=100), make(FeatureMatching, pairs="all-to-all")
    for name, p in learner._meta.named_parameters():
        if name.startswith("g") and name.endswith("weight"):
            p.data.zero_()
    for i in range(3):
        a, b = learner.step(batch(i), i / 10), matching.step(batch(i), i / 10)
        torch.testing.assert_close(a["loss"], b["loss"])
    for x, y in zip(weights(learner), weights(matching), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_sources_never_change(make, batch, hub):
    sources = [hub.load("resnet-a"), hub.load("vit")]
    before = [source.fingerprint for source in sources]
    learner = make(L2TWW, sources)
    for i in range(2):
        learner.step(batch(i), 0.0)
    assert [source.fingerprint for source in sources] == before
    assert all(p.grad is None for source in sources for p in source.parameters())


def test_phi_gets_no_gradient_from_the_targets_step(make, batch, monkeypatch):
    learner = make(L2TWW)
    monkeypatch.setattr(type(learner), "_step_meta", lambda self, *arguments: torch.zeros(()))
    before = copy.deepcopy(learner._meta.state_dict())
    learner.step(batch(), 0.0)
    assert all(p.grad is None for p in learner._meta.parameters())
    assert same(before.values(), learner._meta.state_dict().values())


def test_a_step_moves_phi(make, batch):
    learner = make(L2TWW)
    before = [p.detach().clone() for p in learner._meta.parameters()]
    learner.step(batch(), 0.0)
    moved = [float((a - b).detach().abs().max()) for a, b in zip(before, learner._meta.parameters(), strict=True)]
    assert max(moved) > 1e-5


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("mode", ["exact", "recompute", "finite-difference"])
def test_the_meta_step_leaves_theta_momentum_and_batch_norm(make, batch, monkeypatch, mode, restore):
    learner = make(L2TWW, hypergradient=mode, restore_batch_norm=restore)
    step_meta = type(learner)._step_meta
    found = []

    def watched(self, *arguments):
        def state():
            theta = {**dict(self._network.named_parameters()), **self._optimizer.state_dict()["state"]}
            flat = [value if isinstance(value, torch.Tensor) else value["momentum_buffer"] for value in theta.values()]
            return [x.detach().clone() for x in flat], [b.clone() for b in self._network.buffers()]

        before = state()
        outer = step_meta(self, *arguments)
        found.append((before, state()))
        return outer

    monkeypatch.setattr(type(learner), "_step_meta", watched)
    learner.step(batch(), 0.0)
    [((theta, buffers), (theta_after, buffers_after))] = found
    assert same(theta, theta_after)
    assert same(buffers, buffers_after) is restore
    counts = [int(value) for name, value in learner._network.named_buffers() if name.endswith("num_batches_tracked")]
    assert set(counts) == {1 if restore else 2}


FORMS = [{}, {"inner_momentum": False, "inner_weight_decay": False}, {"adapt": False}, {"inner_steps": 1}]


@pytest.mark.parametrize("mode", ["exact", "recompute"])
@pytest.mark.parametrize("fields", FORMS, ids=lambda fields: ",".join(fields) or "default")
def test_the_hypergradient_equals_unrolled_autograd_in_float64(make, batch, fields, mode):
    learner = make(L2TWW, hypergradient=mode, **fields)
    learner.step(batch(), 0.0)
    perturb(learner)
    x, resized, rows, targets = doubled(learner, batch(3))
    gradients, outer = learner.meta_gradient(x, targets, resized, rows, 0.05)
    expected, expected_outer = unrolled(learner, x, targets, resized, rows, 0.05)
    torch.testing.assert_close(outer, expected_outer, rtol=1e-10, atol=0)
    for n in rows:
        torch.testing.assert_close(gradients[n], expected[n], rtol=1e-7, atol=1e-12)
        assert float(expected[n].abs().max()) > 0


def doubled(learner, batch):
    """The learner's networks in float64, and what a meta step is given."""
    seen = learner._sources(batch.canvas)
    rows = amounts(learner, batch).rows()
    learner._network.double()
    learner._virtual.double()
    for state in learner._optimizer.state.values():
        state["momentum_buffer"] = state["momentum_buffer"].double()
    x = learner.predictor().backbone.view(batch.canvas).double()
    resized = {n: y.double() for n, y in learner._network.matcher.resize(seen).items()}
    return x, resized, {n: row.detach().double() for n, row in rows.items()}, batch.targets


def unrolled(learner, x, targets, resized, rows, rate):
    """By definition: one graph through torch's own layers and all steps."""
    options = learner._meta_options
    network = copy.deepcopy(learner._network)
    momentum, decay = 0.9 * options.inner_momentum, 1e-4 * options.inner_weight_decay
    rows = {n: row.clone().requires_grad_() for n, row in rows.items()}
    theta = {name: p.detach().requires_grad_() for name, p in learner._network.named_parameters()}
    buffers = {name: learner._optimizer.state[p]["momentum_buffer"] for name, p in learner._network.named_parameters()}

    def run(theta, matching):
        return torch.func.functional_call(network, theta, (x, resized if matching else None))

    def task(outputs):
        return learner._task.loss(outputs, targets).mean()

    for t in range(options.inner_steps + options.adapt):
        if t < options.inner_steps:
            outputs, distances = run(theta, True)
            loss = options.beta * weighted(rows, distances).mean()
            loss = loss if options.adapt else loss + task(outputs)
        else:
            loss = task(run(theta, False)[0])
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True, materialize_grads=True)
        for (name, p), g in zip(list(theta.items()), gradients, strict=True):
            buffers[name] = momentum * buffers[name] + g + decay * p
            theta[name] = p - rate * buffers[name]
    outer = task(run(theta, False)[0])
    return dict(zip(rows, torch.autograd.grad(outer, list(rows.values())), strict=True)), outer.detach()


@pytest.mark.parametrize("fields", [{}, {"meta_interval": 2, "restore_batch_norm": False}], ids=str)
def test_resumed_midway_equals_undisturbed_bit_for_bit(make, batch, tmp_path, fields):
    straight, first, second = (make(L2TWW, ("resnet-a", "vit"), **fields) for _ in range(3))
    for i in range(5):
        straight.step(batch(i), i / 10)
        (first if i < 3 else second).step(batch(i), i / 10)
        if i == 2:
            torch.save(first.state_dict(), tmp_path / "state.pt")
            second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(everything(straight), everything(second))
    assert straight.summary() == second.summary()


def test_two_sources_make_pairs_with_one_target(make, batch):
    learner = make(L2TWW, ("resnet-a", "vit"))
    scalars = learner.step(batch(), 0.0)
    assert sum(name.startswith("lambda ") for name in scalars) == len(learner.summary()["matching"]["pairs"]) == 3 * 3 + 4 * 3


def test_a_transformer_and_a_convnext_into_a_mobilenet(make, batch, backbone_of):
    convnext = backbone_of("convnext_atto", "convnext", 32, depths=(1, 1, 1, 1), dims=(8, 12, 16, 24))
    learner = make(L2TWW, ["vit", convnext], target="mobilenetv3_small_050", target_input_size=32)
    scalars = learner.step(batch(rows=6), 0.0)
    assert torch.isfinite(torch.stack(list(scalars.values()))).all()
    assert len(learner.summary()["matching"]["pairs"]) == 8 * 4


def test_a_target_without_second_derivatives_is_named(make, batch, monkeypatch):
    learner = make(L2TWW)

    def refuse(*arguments, **options):
        raise RuntimeError("derivative for aten::some_backward is not implemented")

    monkeypatch.setattr("hubtune.transfer.l2t_learner.hypergradient", refuse)
    with pytest.raises(ModelError, match=r"cifar_resnet8 cannot be differentiated twice.*finite-difference"):
        learner.step(batch(), 0.0)


def test_a_transformer_can_be_the_target(make, batch):
    learner = make(L2TWW, pairs="single", target="test_vit", target_input_size=32)
    assert torch.isfinite(learner.step(batch(rows=4), 0.0)["meta_loss"])


def test_the_predictor_holds_no_meta_networks(make, task):
    assert set(make(L2TWW).predictor().state_dict()) == set(make_target("cifar_resnet8", 16, task, 0).state_dict())


def test_the_summary_is_json_and_says_what_was_matched_when(make, batch):
    import json

    learner = make(L2TWW, pairs="one-to-one", meta_interval=2)
    for i in range(4):
        learner.step(batch(i), i / 4)
    summary = json.loads(json.dumps(learner.summary()))
    matching = summary["matching"]
    assert summary["meta_steps"] == 2
    assert matching["progress"] == [0.025, 0.275, 0.525, 0.775]
    for row in matching["pairs"]:
        source = matching["sources"][row["source"]]
        layer, target_layer = source["layers"][row["source_layer"]], matching["target"]["layers"][row["target_layer"]]
        assert row["name"] == f"{source['name']}/{layer['name']} -> {target_layer['name']}"
        assert row["channels"] == layer["size"][0]
        assert len(row["lambda_mean"]) == len(row["lambda_std"]) == 4
        assert len(row["top_channels"]) == 5


def test_statistics_are_those_of_the_amounts_in_each_part_of_the_training(make, batch):
    learner = make(L2TWW)
    perturb(learner)
    seen = [amounts(learner, batch(start, 6)) for start in (0, 6, 12)]
    for found, progress in zip(seen, (0.0, 0.01, 0.99), strict=True):
        learner._statistics.add(found, progress)
    progress, rows = learner._statistics.summary()
    assert progress == [0.025, 0.975]
    first = torch.cat([torch.cat(list(found.pairs.values()), 1) for found in seen[:2]]).detach()
    torch.testing.assert_close(torch.tensor([row["lambda_mean"][0] for row in rows]), first.mean(0))
    torch.testing.assert_close(torch.tensor([row["lambda_std"][0] for row in rows]), first.std(0, correction=0), rtol=1e-4, atol=1e-6)
    last = [w.detach().mean(0) for ws in seen[2].channels.values() for w in ws]
    for row, w in zip(rows, last, strict=True):
        channel, share = row["top_channels"][0]
        assert channel == int(w.argmax())
        assert share == pytest.approx(w.max().item())


def test_recomputing_replaces_storing_when_memory_runs_out(make, batch, monkeypatch):
    undisturbed, learner = make(L2TWW), make(L2TWW)
    meta_gradient, modes = learner.meta_gradient, []

    def short(*arguments):
        modes.append(learner._memory["memory"])
        if len(modes) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return meta_gradient(*arguments)

    monkeypatch.setattr(learner, "meta_gradient", short)
    learner.step(batch(), 0.0)
    undisturbed.step(batch(), 0.0)
    assert modes == ["store", "recompute"]
    assert same(weights(learner), weights(undisturbed))
    assert not learner.halve_chunks()


def test_meta_gradients_that_are_no_numbers_are_skipped_then_end_the_training(make, batch, monkeypatch):
    learner = make(L2TWW, meta_patience=2)
    meta_gradient = learner.meta_gradient

    def broken(*arguments):
        gradients, outer = meta_gradient(*arguments)
        return {n: g * torch.nan for n, g in gradients.items()}, outer

    monkeypatch.setattr(learner, "meta_gradient", broken)
    before = [p.detach().clone() for p in learner._meta.parameters()]
    learner.step(batch(), 0.0)
    assert same(before, [p.detach() for p in learner._meta.parameters()])
    assert learner.summary()["skipped"] == 1
    assert "never learnt: 1 steps" in learner.summary()["warnings"][1]
    with pytest.raises(Diverged, match="2 times in a row"):
        learner.step(batch(), 0.0)


@pytest.mark.parametrize(
    ("biases", "message"),
    [
        ((-50.0, -50.0), "0 for (.*) and 6 for 0 of .* pairs.*raise lambda_bias"),
        ((50.0, 50.0), "0 for 0 and 6 for .* pairs.*lower lambda_bias"),
        ((50.0, -50.0), "0 for [1-9].* and 6 for [1-9].* pairs"),
    ],
)
def test_amounts_without_a_gradient_are_told_once(make, batch, biases, message):
    learner = make(L2TWW)
    places = [p for name, p in learner._meta.named_parameters() if name.startswith("g") and name.endswith("bias")]
    for place, p in enumerate(places):
        p.data.fill_(biases[place % 2])
    if len(places) == 1:
        places[0].data[1:].fill_(biases[1])
    learner._counts["steps"] = CHECK_EVERY - 1
    with pytest.warns(UserWarning, match=message):
        learner.step(batch(), 0.0)
    assert learner.summary()["warnings"]
    learner._counts["steps"] = CHECK_EVERY - 1
    learner.step(batch(), 0.0)


def test_a_batch_of_one_image_is_survived(make, batch):
    assert torch.isfinite(make(L2TWW).step(batch(rows=1), 0.0)["meta_loss"])


def test_mixed_precision_stays_near_and_the_meta_step_is_exact(task, hub, batch, setting, monkeypatch):
    method = L2TWW(**SMALL)
    plain, mixed = (
        method.learner([hub.load("resnet-a")], task, [], replace(setting, runtime=Runtime(device_name="cpu", precision=precision)))
        for precision in ("no", "bf16")
    )
    precisions = []
    meta_gradient = mixed.meta_gradient

    def watched(x, targets, resized, rows, rate):
        precisions.append({x.dtype, *(y.dtype for y in (*resized.values(), *rows.values()))})
        assert not torch.is_autocast_enabled("cpu")
        return meta_gradient(x, targets, resized, rows, rate)

    monkeypatch.setattr(mixed, "meta_gradient", watched)
    a, b = (learner.step(batch(), 0.0) for learner in (plain, mixed))
    assert precisions == [{torch.float32}]
    for name in ("task_loss", "transfer_loss", "meta_loss"):
        assert float(a[name]) == pytest.approx(float(b[name]), rel=0.05)
        assert float(a[name]) != float(b[name])


def test_sources_on_a_device_of_their_own_say_the_same(make, batch):
    a, b = (make(L2TWW, source_device=device).step(batch(), 0.0) for device in (None, "cpu"))
    assert {name: float(value) for name, value in a.items()} == {name: float(value) for name, value in b.items()}


@pytest.mark.parametrize("mode", ["exact", "recompute", "finite-difference"])
def test_dropout_is_the_same_whenever_a_virtual_step_is_made_again(make, batch, mode):
    found = {}
    for name in ("exact", mode):
        learner = make(L2TWW, target="ghostnet_100", target_input_size=32, pairs="single", hypergradient=name)
        asked = batch()
        x = learner._network.predictor.backbone.view(asked.canvas)
        seen = learner._sources(asked.canvas)
        rows = {n: row.detach() for n, row in learner._meta(learner._meta.pool(seen)).rows().items()}
        torch.manual_seed(7)
        gradients, outer = learner.meta_gradient(x, asked.targets, learner._network.matcher.resize(seen), rows, 0.01)
        found[name] = torch.cat([g.flatten() for g in gradients.values()]), outer, torch.rand(1)
    (reference, outer, drawn), (gradient, same_outer, also_drawn) = found["exact"], found[mode]
    assert torch.equal(outer, same_outer)
    assert torch.equal(drawn, also_drawn)
    if mode != "finite-difference":
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-6 * float(reference.abs().max()) + 1e-12)


def test_beta_in_the_virtual_steps_is_a_field(make, batch):
    outers = []
    for fields in ({}, {"inner_beta": False}, {"inner_beta": False, "beta": 1.0}, {"beta": 1.0}):
        learner = make(L2TWW, **fields)
        asked = batch()
        x, seen = learner._network.predictor.backbone.view(asked.canvas), learner._sources(asked.canvas)
        rows = {n: row.detach() for n, row in learner._meta(learner._meta.pool(seen)).rows().items()}
        outers.append(learner.meta_gradient(x, asked.targets, learner._network.matcher.resize(seen), rows, 0.05)[1])
    plain, without, without_of_one, of_one = outers
    assert not torch.equal(plain, without)
    assert torch.equal(without, without_of_one)
    assert torch.equal(without, of_one)


def test_several_betas_and_meta_rates_are_all_tried(task):
    swept = L2TWW.from_config({"beta": "0.5,2", "meta_learning_rate": "1e-3,1e-2", "learning_rates": "0.05"}).variants(task)
    assert [(each.beta, each.meta_learning_rate) for each in swept] == [(0.5, 1e-3), (0.5, 1e-2), (2.0, 1e-3), (2.0, 1e-2)]
    # One value is the same training however it is written.
    assert L2TWW(beta=(0.5,)).variants(task) == L2TWW(beta=0.5).variants(task)


def test_a_network_of_ones_own_is_a_target(make, batch, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    code = page.partition("## A network to deploy")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "network_of_my_own.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    learner = make(L2TWW, target="network_of_my_own:tiny", target_input_size=32)
    assert torch.isfinite(learner.step(batch(), 0.0)["meta_loss"])
    assert [layer.name for layer in learner._network.layers] == ["first", "second"]
    with pytest.raises(ConfigurationError, match=r"target = Sequential\(\): a network was given.*register_model"):
        L2TWW(target=torch.nn.Sequential())
    with pytest.raises(ConfigurationError, match="no_such_module.*cannot be imported"):
        L2TWW(target="no_such_module:tiny")


def test_mistakes(task):
    with pytest.raises(ConfigurationError, match=r"optimizer = 'adamw'.*choose 'sgd'"):
        L2TWW(optimizer="adamw")
    with pytest.raises(ConfigurationError, match="lambda_bias"):
        L2TWW(lambda_bias=6)


SHARED = """
import torch, hubtune as ht
from hubtune.training.learner import Batch
from hubtune.training.method import Setting
from hubtune.training.runtime import Runtime

def train(task, hub):
    runtime = Runtime(device_name="cpu")
    method = ht.L2TWW(target="test_vit", target_input_size=32, pairs="single", learning_rates=(0.05,), steps=3, meta_learning_rate=0.01)
    learner = method.learner([hub.load("vit")], task, [], Setting(seed=3, canvas_size=None, runtime=runtime))
    share = 12 // runtime.processes
    rows = torch.arange(12)[runtime.rank * share : (runtime.rank + 1) * share]
    for step in range(3):
        learner.step(Batch(task.train.canvas(rows.tolist(), None), task.train.targets[rows], rows), step / 3)
    return {"theta": learner.predictor().state_dict(), "phi": learner._meta.state_dict()}
"""
ONE_OF_TWO = """
import sys
torch.set_num_threads(1)
state = train(ht.Task.open(sys.argv[1]), ht.Hub.open(sys.argv[2]))
torch.save(state, f"{sys.argv[3]}/{Runtime(device_name='cpu').rank}.pt")
"""


def test_two_processes_equal_one_on_the_same_batch(task, hub, task_file, models_folder, tmp_path):
    """Each has half of the batch, and no BatchNorm makes the halves depend on each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", SHARED + ONE_OF_TWO, str(task_file), str(models_folder), str(tmp_path)]
    processes = [subprocess.Popen(command, env=os.environ | group | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    names: dict = {}
    exec(SHARED, names)
    one = names["train"](task, hub)
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    for rank in "01":
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for part in ("theta", "phi"):
            for name, value in one[part].items():
                torch.testing.assert_close(state[part][name], value, rtol=1e-4, atol=1e-5)


def test_the_road_from_hub_to_model(task, hub, tmp_path):
    import hubtune

    small = {"target": "cifar_resnet8", "target_input_size": 16, "steps": 3, "batch_size": 12, "evaluations": 1}
    run = hubtune.tune(task, hub.subset(["resnet-a", "vit"]), L2TWW(**small), out=tmp_path / "run", workers=1)
    assert "test_accuracy" in run.metrics
    assert run.record["summary"]["meta_steps"] == 3
    assert {f"saliency-{i}-{kind}" for i in range(6) for kind in ("image", "more", "less")} == set(run.record["pictures"])
    assert len(list((run.path / "pictures").glob("*.png"))) == 18
    assert len(hubtune.load(run.path).predict(task.test.canvas(range(4), None).permute(0, 2, 3, 1).numpy()).labels) == 4
