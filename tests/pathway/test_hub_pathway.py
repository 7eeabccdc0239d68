"""Training a hub: gradient ownership, exploration, what is learnt, and everything that can go wrong."""

import json
import math

import pytest
import torch

import hubtune as ht
from hubtune.errors import ConfigurationError, ModelError
from hubtune.pathway.hub_pathway_learner import collapse_warnings, first_scores, one_path_warnings
from hubtune.pathway.objectives import cost_loss, exploitation_loss, exploration_loss
from hubtune.training.batches import Batches
from hubtune.training.evaluation import evaluate
from hubtune.training.learner import Batch
from hubtune.training.loop import Diverged, Plan, train
from hubtune.workflow import method_named

SGD = {"optimizer": "sgd", "schedule": "step", "warmup": 0.0}
GENERATOR = {"generator_size": 8, "generator_width": 8}
TINY = {"steps": 100, "batch_size": 32, "learning_rates": (0.05,), "head_first": False, **GENERATOR, **SGD}


def method(**options):
    return ht.HubPathway(**{**TINY, **options})


def first_batch(task, rows=12):
    return Batch(task.train.canvas(range(rows), None), task.train.targets[:rows], torch.arange(rows))


def test_exploration_is_least_where_models_share_alike_and_zero_where_one_has_all():
    assert float(exploration_loss(torch.eye(4))) == pytest.approx(-math.log(4))
    assert float(exploration_loss(torch.eye(4)[:1])) == pytest.approx(0)
    weights = torch.rand(5, 3, dtype=torch.float64).softmax(1).requires_grad_()
    assert torch.autograd.gradcheck(exploration_loss, (weights,))


def test_identical_models_pay_the_cross_entropy_k_times():
    ce = torch.rand(6)
    assert float(exploitation_loss(ce[:, None].expand(6, 3))) == pytest.approx(3 * float(ce.mean()))


def test_the_cost_of_equal_weights_is_the_mean_models_and_units_do_not_matter():
    costs = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    assert float(cost_loss(torch.full((4, 3), 1 / 3, dtype=torch.float64), costs)) == pytest.approx(1)
    assert float(cost_loss(torch.eye(3, dtype=torch.float64)[2:], costs)) == pytest.approx(2)
    weights = torch.rand(5, 3, dtype=torch.float64).softmax(1)
    assert float(cost_loss(weights, 1e9 * costs)) == pytest.approx(float(cost_loss(weights, costs)))
    assert torch.autograd.gradcheck(lambda w: cost_loss(w, costs), (weights.requires_grad_(),))


def test_a_weight_on_cost_reaches_the_generator_alone_and_leads_to_cheap_paths(experts, expert_task, setting, monkeypatch):
    monkeypatch.setattr("hubtune.pathway.hub_pathway.costs", lambda members: [1, 10, 10])

    def of(**options):
        torch.manual_seed(0)
        return gradients(method(explore=0.0, **options).learner(experts, expert_task, [], setting), expert_task)

    free, dear = of(), of(cost_weight=5.0)
    assert torch.equal(free["aggregator"], dear["aggregator"])
    assert torch.equal(free["models"], dear["models"])
    assert not torch.allclose(free["generator"], dear["generator"])
    learner, _ = trained(experts, expert_task, setting, top_k=1, cost_weight=20.0, steps=40)
    assert learner.summary()["activated"]["expert-0"] > 0.9


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_step_reports_the_losses_of_the_formula(experts, expert_task, setting, k):
    learner = method(top_k=k).learner(experts, expert_task, [], setting)
    scalars = learner.step(first_batch(expert_task), 0.0)
    loss = scalars["task"] + 0.1 * scalars["explore"] + scalars["exploit"]
    assert float(scalars["loss"]) == pytest.approx(float(loss))
    # Heads from N(0, 0.01): every model's own loss is nearly log C at first, and each image has k of them.
    assert float(scalars["exploit"]) == pytest.approx(k * math.log(3), rel=0.02)
    assert sum(sum(expert.calls) for expert in experts) - 3 * 8 == 12 * k


def gradients(learner, task):
    learner._optimizer.step = lambda: None
    learner.step(first_batch(task), 0.0)
    hub = learner.predictor()
    parts = {"generator": hub.generator, "aggregator": hub.aggregator, "models": hub.members}
    return {name: torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None]) for name, part in parts.items()}


def test_each_loss_reaches_only_what_it_owns(experts, expert_task, setting):
    def of(**options):
        torch.manual_seed(0)
        return gradients(method(**options).learner(experts, expert_task, [], setting), expert_task)

    task_only, explore, exploit = of(explore=0.0, exploit=False), of(explore=5.0, exploit=False), of(explore=0.0)
    assert torch.equal(task_only["aggregator"], explore["aggregator"])
    assert torch.equal(task_only["models"], explore["models"])
    assert not torch.allclose(task_only["generator"], explore["generator"])
    assert torch.equal(task_only["aggregator"], exploit["aggregator"])
    assert torch.equal(task_only["generator"], exploit["generator"])
    assert not torch.allclose(task_only["models"], exploit["models"])
    assert task_only["generator"].abs().sum() > 0


def test_one_step_is_one_backward_pass_of_the_sum(experts, expert_task, setting):
    learner = method(explore=0.7).learner(experts, expert_task, [], setting)
    torch.manual_seed(3)
    found = gradients(learner, expert_task)
    hub, batch = learner.predictor(), first_batch(expert_task)
    hub.zero_grad()
    torch.manual_seed(3)
    weights = hub.generator(batch.canvas)
    routed = hub.routed(batch.canvas, weights)
    own = expert_task.loss(routed.own.flatten(0, 1), batch.targets.repeat_interleave(2)).unflatten(0, (12, 2))
    (expert_task.loss(routed.outputs, batch.targets).mean() + 0.7 * exploration_loss(weights) + exploitation_loss(own)).backward()
    for name, part in {"generator": hub.generator, "aggregator": hub.aggregator, "models": hub.members}.items():
        expected = torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)


def test_chunks_accumulate_to_the_same_gradient(experts, expert_task, setting):
    found = []
    for halvings in (0, 2):
        learner = method().learner(experts, expert_task, [], setting)
        for _ in range(halvings):
            learner.halve_chunks()
        torch.manual_seed(1)
        found.append(gradients(learner, expert_task))
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-4, atol=1e-6)


def test_a_model_that_no_image_chose_does_not_move(experts, expert_task, setting):
    learner = method(top_k=1, weight_decay=0.1).learner(experts, expert_task, [], setting)
    hub = learner.predictor()
    learner.step(first_batch(expert_task), 0.0)
    with torch.no_grad():
        hub.generator.preferred.weight.zero_()
        hub.generator.preferred.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    before = [member.head.weight.clone() for member in hub.members]
    learner.step(first_batch(expert_task), 0.0)
    assert [torch.equal(member.head.weight, old) for member, old in zip(hub.members, before, strict=True)] == [False, True, True]


def trained(experts, task, setting, checkpoint=None, on_progress=None, **options):
    chosen = method(**options)
    learner = chosen.learner(experts, task, [], setting)
    batches = Batches(task=task, split=task.train, canvas_size=None, batch_size=32, seed=0)
    plan = Plan(seed=0, evaluate_every=50, checkpoint=checkpoint, checkpoint_seconds=0, on_progress=on_progress or (lambda *_: None))
    train(learner, batches, lambda: evaluate(learner.predictor(), task, task.val, None, setting.runtime)[1], plan, setting.runtime)
    return learner, evaluate(learner.predictor(), task, task.test, None, setting.runtime)[1]["accuracy"]


def test_learnt_paths_near_the_oracle_and_random_ones_do_not(experts, expert_task, setting):
    """One expert is right on each third of the images: the oracle is always right, a random path on a third and a third of the rest."""
    learner, learnt = trained(experts, expert_task, setting, top_k=1)
    _, random = trained(experts, expert_task, setting, top_k=1, random_path=True, steps=30)
    assert learnt > 0.95
    assert random < 0.75
    assert learner.summary()["warnings"] == []
    assert sum(learner.summary()["pathway_weights"].values()) == pytest.approx(1, abs=1e-4)
    assert sum(learner.summary()["activated"].values()) == pytest.approx(1)


def test_a_resumed_training_equals_an_undisturbed_one(experts, expert_task, setting, tmp_path):
    def interrupt(step, steps, scalars):
        if step == 20:
            raise KeyboardInterrupt

    undisturbed, _ = trained(experts, expert_task, setting, steps=30)
    with pytest.raises(KeyboardInterrupt):
        trained(experts, expert_task, setting, tmp_path / "c.pt", interrupt, steps=30)
    resumed, _ = trained(experts, expert_task, setting, tmp_path / "c.pt", steps=30)
    for name, value in undisturbed.predictor().state_dict().items():
        assert torch.equal(value, resumed.predictor().state_dict()[name]), name


def test_a_collapsed_hub_is_said_with_the_number_and_what_to_do(experts, expert_task, setting):
    learner = method().learner(experts, expert_task, [], setting)
    with torch.no_grad():
        learner.predictor().generator.preferred.bias[1] = 20.0
    learner.finish(iter(()))
    [warning] = learner.summary()["warnings"]
    assert "expert-1 has 100.0 %" in warning
    assert "raise explore" in warning
    assert collapse_warnings({"only": 1.0}) == []
    assert collapse_warnings({"a": 0.95, "b": 0.05}) == []


def test_paths_that_do_not_differ_are_said():
    [warning] = one_path_warnings({"a": 0.99, "b": 0.02, "c": 0.99}, 2)
    assert warning == (
        "one path for all: at least 99.0 % of the validation images pass through a and c, whatever they show, as is usual on small tasks"
    )
    assert "all validation images pass through b," in one_path_warnings({"a": 0.0, "b": 1.0}, 1)[0]
    assert one_path_warnings({"a": 0.9, "b": 0.2, "c": 0.9}, 2) == []
    assert one_path_warnings({"a": 1.0, "b": 1.0}, 2) == []
    assert one_path_warnings({}, 1) == []


def test_a_prior_starts_from_what_frozen_features_are_good_for(hub, task, setting):
    options = {"steps": 4, "batch_size": 12, "learning_rates": (0.01,), "generator_size": 16, "generator_width": 4}
    backbones = [hub.load(name) for name in hub.names]
    learner = ht.HubPathway(prior=7.0, **options).learner(backbones, task, [], setting)
    routed = learner.predictor().eval()
    accuracies = []
    for member in routed.members:
        single = member(task.val.canvas(range(len(task.val)), None)).argmax(1)
        accuracies.append(single.eq(task.val.targets).float().mean())
    weights = routed.generator(task.test.canvas(range(5), None))
    torch.testing.assert_close(weights, (7 * torch.stack(accuracies)).softmax(0).expand(5, 3))
    equal = ht.HubPathway(prior=0, **options).learner(backbones, task, [], setting).predictor().eval()
    torch.testing.assert_close(equal.generator(task.test.canvas(range(5), None)), torch.full((5, 3), 1 / 3))


def test_a_prior_without_heads_to_judge_by_is_said(experts, expert_task, setting):
    with pytest.raises(ConfigurationError, match=r"prior = 5.0 without a trial .* expected trial=0.1, head_first=true"):
        method(prior=5.0).variants(expert_task)


def break_one(expert):
    expert.embed = lambda x: torch.full((len(x), 3), torch.nan)


def test_a_model_without_numbers_is_named_or_left_out(experts, expert_task, setting):
    break_one(experts[1])
    with pytest.raises(ModelError, match=r"expert-1.*skip_broken"):
        method().learner(experts, expert_task, [], setting)
    learner, _ = trained(experts, expert_task, setting, skip_broken=True, steps=10)
    assert learner.summary()["activated"]["expert-1"] == 0
    with pytest.raises(ConfigurationError, match="top_k = 3 with 2 usable"):
        method(top_k=3, skip_broken=True).learner(experts, expert_task, [], setting)


def test_a_model_that_stops_yielding_numbers_in_training_is_named(experts, expert_task, setting):
    learner = method().learner(experts, expert_task, [], setting)
    learner.step(first_batch(expert_task), 0.0)
    break_one(experts[2])
    for step in range(1, 9):
        learner.step(first_batch(expert_task), step / 100)
    with pytest.raises(Diverged, match="expert-2: outputs became NaN"):
        learner.step(first_batch(expert_task), 0.09)


def test_batch_norm_can_be_frozen_and_estimated_anew(hub, task, setting):
    def statistics(learner):
        return {n: v.clone() for n, v in learner.predictor().members.named_buffers() if "running_mean" in n}

    options = {**SGD, "steps": 4, "batch_size": 12, "head_first": False, "generator_size": 16, "generator_width": 4}
    backbones = [hub.load(name) for name in ("resnet-a", "resnet-b")]
    frozen = ht.HubPathway(**options, batch_norm="frozen").learner(backbones, task, [], setting)
    before = statistics(frozen)
    generator = [v.clone() for n, v in frozen.predictor().generator.named_buffers() if "running_mean" in n]
    frozen.step(first_batch(task), 0.0)
    evaluate(frozen.predictor(), task, task.val, None, setting.runtime)
    frozen.step(first_batch(task), 0.25)
    assert all(torch.equal(value, before[name]) for name, value in statistics(frozen).items())
    assert not torch.equal(next(v for n, v in frozen.predictor().generator.named_buffers() if "running_mean" in n), generator[0])
    anew = ht.HubPathway(**options, reestimate_batch_norm=True).learner(backbones, task, [], setting)
    anew.step(first_batch(task), 0.0)
    before = statistics(anew)
    anew.finish(iter(()))
    assert any(not torch.equal(value, before[name]) for name, value in statistics(anew).items())
    assert not any(module.training for module in anew.predictor().modules())


def test_too_many_paths_for_a_hub_are_said(experts, expert_task, setting):
    with pytest.raises(ConfigurationError, match="top_k = 4 with 3 usable models"):
        method(top_k=4).learner(experts, expert_task, [], setting)


def test_variants_try_each_rate_and_each_exploration(expert_task):
    assert [(v.learning_rates, v.prior) for v in ht.HubPathway().variants(expert_task)] == [
        ((rate,), prior) for rate in (0.001, 0.0001) for prior in (0.0, 10.0)
    ]
    assert len(ht.HubPathway(random_path=True).variants(expert_task)) == len(ht.HubPathway(head_first=False).variants(expert_task)) == 2
    assert [v.learning_rates for v in ht.HubPathway(protocol="paper").variants(expert_task)] == [(0.01,)]
    swept = ht.HubPathway(explore=(0.0, 0.1), prior=0, learning_rates=(0.1,)).variants(expert_task)
    assert [v.explore for v in swept] == [0.0, 0.1]
    paper = ht.HubPathway(protocol="paper")
    assert (paper.scheduled_steps(expert_task), paper.milestones) == (15_000, (0.4, 0.8))


@pytest.mark.parametrize(
    "options", [{}, {"explore": 0.0, "top_k": 1}, {"explore": (0.1, 1.0), "learning_rates": (0.1,), "head_first": True}]
)
def test_configuration_goes_in_and_out_of_json(options):
    chosen = ht.HubPathway(**options)
    assert ht.HubPathway.from_config(json.loads(json.dumps(chosen.config()))) == chosen
    read = method_named("hub-pathway", {"learning_rates": "auto", "explore": "0.1,1", "top_k": "3", "head_first": "auto"})
    assert read == ht.HubPathway(explore=(0.1, 1.0), top_k=3)


def test_the_whole_road(task, hub, tmp_path):
    chosen = ht.HubPathway(steps=20, batch_size=12, learning_rates=(0.001,), generator_width=8)
    run = ht.tune(task, hub, method=chosen, workers=1, out=tmp_path / "run")
    images = task.test.canvas(range(30), None).permute(0, 2, 3, 1).numpy()
    p, again = (ht.load(run.path).predict(images) for _ in range(2))
    assert (p.probabilities == again.probabilities).all()
    assert p.path.shape == (30, 3)
    assert ((p.path > 0).sum(1) == 2).all()
    right = sum(task.class_names.index(label) == int(target) for label, target in zip(p.labels, task.test.targets, strict=True))
    assert right / 30 == pytest.approx(run.metrics["test_accuracy"])
    assert run.metrics["test_accuracy"] > 0.6


def test_under_several_processes_a_model_that_none_activated_keeps_no_gradient(experts, expert_task, setting, monkeypatch):
    learner = method(top_k=1, explore=0.0).learner(experts, expert_task, [], setting)
    hub = learner.predictor()
    with torch.no_grad():
        hub.generator.preferred.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    alone = gradients(learner, expert_task)["aggregator"]
    monkeypatch.setattr(type(setting.runtime), "processes", 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor)
    torch.testing.assert_close(gradients(learner, expert_task)["aggregator"], alone / 2, rtol=1e-3, atol=1e-6)
    assert [member.head.weight.grad is None for member in hub.members] == [False, True, True]


def test_a_cell_does_not_depend_on_what_was_drawn_before(task, hub, monkeypatch, tmp_path):
    losses = []
    for folder in ("a", "b"):
        torch.manual_seed(ord(folder))
        monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path / folder))
        chosen = ht.MultiTeacher(steps=2, batch_size=12, learning_rates=(0.01,), student="resnet-a", head_first=False)
        losses.append(ht.tune(task, hub.subset(["resnet-a", "resnet-b"]), method=chosen, workers=1).metrics["test_loss"])
    assert losses[0] == losses[1]


def test_models_of_different_upstream_classes_share_a_hub(task, hub, tmp_path):
    import timm
    from timm.models import save_for_hf

    for classes in (11, 0):
        network = timm.create_model("cifar_resnet8", num_classes=classes)
        network.pretrained_cfg.update({"input_size": (3, 16, 16)})
        save_for_hf(network, tmp_path / f"of-{classes}", safe_serialization=True)
    mixed = hub.subset(["resnet-a"]) | ht.Hub.open(tmp_path)
    assert sorted(card.num_classes for card in mixed) == [0, 5, 11]
    run = ht.tune(task, mixed, method=ht.HubPathway(steps=2, batch_size=12, learning_rates=(0.001,), generator_width=8), workers=1)
    assert ht.load(run.path).predict(task.test.canvas([0], None).permute(0, 2, 3, 1).numpy()).probabilities.shape == (1, 3)


def test_first_scores_after_a_trial_follow_the_errors_and_shut_nobody_out():
    errors = torch.tensor([0.2, 0.1, 0.15])
    torch.testing.assert_close(first_scores(errors, 10.0, 0.01), torch.tensor([-20.0, -10.0, -15.0]))
    faultless = first_scores(torch.tensor([0.0, 0.004, 0.5, torch.inf, torch.nan]), 10.0, 0.005)
    assert faultless.tolist() == [-10.0, -10.0, -30.0, -30.0, -30.0]
    assert first_scores(torch.full((3,), torch.nan), 10.0, 0.005).tolist() == [-10.0] * 3
    assert first_scores(errors, 0.0, 0.01).tolist() == [0.0] * 3


def test_a_trial_leaves_broken_models_out(experts, expert_task, setting):
    break_one(experts[1])
    learner = method(skip_broken=True, steps=10, trial=0.2).learner(experts, expert_task, [], setting)
    for step in range(3):
        assert bool(torch.isfinite(learner.step(first_batch(expert_task), step / 10)["loss"]))
    assert learner.predictor().generator(first_batch(expert_task).canvas)[:, 1].tolist() == [0.0] * len(first_batch(expert_task))
