"""Laws of the deployed hub, on networks with BatchNorm and without."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hubtune.pathway.aggregator import Aggregator
from hubtune.pathway.generator import PathwayGenerator, RandomPathway
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.pathway.sizing import auto_size, auto_width, flops
from hubtune.training.predictor import Single


def build(hub, task, k=2, names=None, generator=None):
    torch.manual_seed(0)
    backbones = [hub.load(name) for name in names or hub.names]
    members = [Single(backbone, task.head(backbone)) for backbone in backbones]
    for member in members:
        torch.nn.init.normal_(member.head.weight)
    if generator is None:
        generator = PathwayGenerator(len(members), 16, 4)
        torch.nn.init.normal_(generator.preferred.weight, std=3)
    return RoutedHub(members, generator, Aggregator(len(members), 3, "random"), k).eval()


def canvas_of(task, rows=9):
    return task.test.canvas(range(rows), None)


@torch.no_grad()
def test_all_models_active_is_the_dense_formula(hub, task):
    routed, canvas = build(hub, task, k=3), canvas_of(task)
    weights = routed.generator(canvas)
    dense = torch.stack([member(canvas) for member in routed.members], 1)
    expected = routed.aggregator.linear((weights[..., None] * dense).flatten(1))
    torch.testing.assert_close(routed(canvas), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(routed.path.sum(1), torch.ones(9))


@pytest.mark.parametrize("k", [1, 2])
@torch.no_grad()
def test_the_path_has_k_weights_and_exact_zeros(hub, task, k):
    routed = build(hub, task, k)
    assert routed.path is None
    routed(canvas_of(task))
    assert routed.path.shape == (9, 3)
    assert ((routed.path != 0).sum(1) == k).all()


@torch.no_grad()
def test_what_is_blocked_cannot_change_an_output(hub, task):
    routed, canvas = build(hub, task, k=1), canvas_of(task, 30)
    before = routed(canvas)
    path = routed.path.clone()
    for i, member in enumerate(routed.members):
        other = build(hub, task, k=1)
        for parameter in other.members[i].parameters():
            parameter.fill_(torch.nan)
        blocked = path[:, i] == 0
        assert torch.equal(other(canvas[blocked]), routed(canvas[blocked]))
        del member
    assert len((path > 0).nonzero()[:, 1].unique()) > 1
    torch.testing.assert_close(routed(canvas), before, rtol=0, atol=0)


@torch.no_grad()
def test_evaluation_twice_is_bit_identical_and_rows_are_independent(hub, task):
    for generator in (None, RandomPathway(3)):
        routed, canvas = build(hub, task, generator=generator), canvas_of(task, 12)
        assert torch.equal(routed(canvas), routed(canvas))
        order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
        expected, path = routed(canvas)[order], routed.path[order]
        torch.testing.assert_close(routed(canvas[order]), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(routed.path, path)


@torch.no_grad()
def test_permuting_models_permutes_paths_and_keeps_outputs(hub, task):
    routed, canvas = build(hub, task), canvas_of(task)
    order = [2, 0, 1]
    other = build(hub, task, names=[hub.names[i] for i in order])
    other.generator.load_state_dict(routed.generator.state_dict())
    for head in ("preferred", "noise"):
        ours, theirs = getattr(other.generator, head), getattr(routed.generator, head)
        ours.weight.copy_(theirs.weight[order])
    for i, j in enumerate(order):
        other.members[i].load_state_dict(routed.members[j].state_dict())
    other.aggregator.linear.weight.copy_(routed.aggregator.linear.weight.unflatten(1, (3, 3))[:, order].flatten(1))
    other.aggregator.linear.bias.copy_(routed.aggregator.linear.bias)
    expected = routed(canvas)
    torch.testing.assert_close(other(canvas), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.path, routed.path[:, order])


def test_a_part_of_one_row_trains_on_running_statistics(hub, task):
    routed = build(hub, task, k=1, names=["resnet-a", "resnet-b"]).train()
    weights = torch.tensor([[0.9, 0.1]] * 4 + [[0.1, 0.9]])
    statistics = routed.members[1].backbone.network.state_dict()
    before = {name: value.clone() for name, value in statistics.items() if "running" in name}
    routed.routed(canvas_of(task, 5), weights).outputs.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in statistics.items() if name in before)
    assert all(norm.training for norm in routed.members[1].modules())
    assert routed.members[1].head.weight.grad.abs().sum() > 0


def test_blocked_models_cost_no_operations(hub, task):
    routed = build(hub, task, k=1, names=["resnet-a", "resnet-b"])
    canvas = canvas_of(task, 8)

    def cost(weights):
        with FlopCounterMode(display=False) as counter:
            routed.routed(canvas, weights).outputs.sum().backward()
        return counter.get_total_flops()

    single = cost(torch.tensor([[0.9, 0.1]] * 8))
    assert cost(torch.tensor([[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 4)) == pytest.approx(single, rel=1e-3)
    routed.top_k = 2
    assert cost(torch.tensor([[0.9, 0.1]] * 8)) == pytest.approx(2 * single, rel=1e-3)


@torch.no_grad()
def test_paths_are_watched_batch_by_batch_while_asked(hub, task):
    from hubtune.training.evaluation import watched_paths

    routed = build(hub, task)
    with watched_paths(routed) as paths:
        for rows in (4, 5):
            routed(canvas_of(task, rows))
    assert [len(path) for path in paths] == [4, 5]
    assert torch.equal(paths[1], routed.path)
    routed(canvas_of(task, 2))
    assert len(paths) == 2
    with watched_paths(routed.members[0]) as paths:
        routed.members[0](canvas_of(task, 2))
    assert paths == []


@torch.no_grad()
def test_a_spec_and_weights_rebuild_the_same_hub(hub, task):
    routed, canvas = build(hub, task), canvas_of(task)
    fresh = RoutedHub.from_spec(routed.spec())
    fresh.load_state_dict(routed.state_dict())
    assert torch.equal(fresh.eval()(canvas), routed(canvas))


def test_the_generator_is_as_small_as_its_share_asks(hub, task):
    assert [auto_size(side) for side in (16, 32, 64, 224)] == [16, 32, 32, 112]
    members = build(hub, task).members
    mean = sum(flops(member, canvas_of(task, 1)) for member in members) / 3
    assert mean > 0
    assert auto_width(members, 16) in (16, 24, 32, 48, 64)
