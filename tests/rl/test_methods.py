"""What each method starts from and what its losses reach."""

import pytest
import torch

from hubtune.errors import ConfigurationError
from hubtune.pathway.zoo_tuning import MixedConv
from hubtune.rl import METHODS, HubPathway, KnowledgeFlow, ZooTuning
from hubtune.rl.distribution import cross_entropy
from hubtune.rl.learner import RainbowLearner
from hubtune.rl.replay import Transitions
from hubtune.rl.running import EMPTY
from hubtune.rl.world import world_named

ACTIONS = ("UP", "RIGHT", "DOWN", "LEFT")
CPU = torch.device("cpu")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    canvas, later = (torch.randint(0, 256, (6, 2, 30, 30), dtype=torch.uint8, generator=generator) for _ in range(2))
    actions = torch.tensor([0, 1, 2, 3, 0, 1])
    ones = torch.ones(6)
    return Transitions(canvas, actions, torch.arange(6), returns=0.1 * ones, discounts=0.5 * ones, later=later, weights=0.5 * ones)


@pytest.fixture
def target():
    return torch.randn(6, 11, generator=torch.Generator().manual_seed(1)).softmax(1)


def started(method, sources, actions=ACTIONS):
    torch.manual_seed(0)
    return method.start(sources, actions)


@pytest.mark.parametrize("name", METHODS)
def test_steps_of_learning_lower_the_loss_and_the_sources_stay(name, tiny, sources, batch, target):
    start = started(METHODS[name](**tiny), sources)
    before = [source.head().state_dict() for source in sources]
    start.policy.train()
    companions = start.objective.companions()
    trained = [*start.policy.parameters(), *([] if companions is None else companions.parameters())]
    optimizer = torch.optim.Adam([parameter for parameter in trained if parameter.requires_grad], lr=1e-3)
    found = []
    for _ in range(20):
        torch.manual_seed(2)
        total, losses = start.objective.losses(batch, target)
        assert losses.shape == (6,)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append(float(losses.detach().mean()))
    assert found[-1] < found[0]
    for source, weights in zip(sources, before, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in source.head().state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_each_method_acts_and_learns_in_a_world(name, tiny, sources):
    method = METHODS[name](**tiny)
    world = world_named("rl.gridworld:Room", method)()
    start = started(method, sources)
    learner = RainbowLearner(start.policy, start.objective, method, world, seed=0, device=CPU)
    for step in range(24):
        torch.manual_seed(step)
        loss = learner.step(EMPTY, 0.0)["loss"]
    assert torch.isfinite(loss)
    assert loss > 0


def test_the_target_network_is_a_copy_of_the_whole_hub(tiny, sources):
    method = HubPathway(**tiny)
    start = started(method, sources)
    learner = RainbowLearner(start.policy, start.objective, method, world_named("rl.gridworld:Room", method)(), seed=0, device=CPU)
    assert learner._target.state_dict().keys() == start.policy.state_dict().keys()
    assert {name.split(".")[0] for name in learner._target.state_dict()} == {"members", "generator", "aggregator"}
    assert not any(parameter.requires_grad for parameter in learner._target.parameters())


@torch.no_grad()
def test_the_aggregator_is_shared_over_actions_and_weighs_logits(tiny, sources, batch):
    hub = started(HubPathway(**tiny), sources).policy.eval()
    assert hub.aggregator.linear.weight.shape == (11, 22)
    outputs = hub(batch.canvas)
    # It starts as the sum of the weighted logits, before any softmax.
    expected = sum(hub.path[:, i, None, None] * member(batch.canvas) for i, member in enumerate(hub.members))
    torch.testing.assert_close(outputs, expected)
    swapped = outputs[:, :, [1, 0, 2, 3]]
    for member in hub.members:  # two actions change places in all heads, and so in the hub's answer
        last = member.head.advantage[2]
        for value in (last.weight, last.bias):
            rows = value.unflatten(0, (11, 4))
            value.copy_(rows[:, [1, 0, 2, 3]].flatten(0, 1))
    torch.testing.assert_close(hub(batch.canvas), swapped)


def test_priorities_follow_from_the_hubs_own_loss_and_each_loss_reaches_its_part(tiny, sources, batch, target):
    method = HubPathway(**tiny, explore=0.5)
    start = started(method, sources)
    hub = start.policy.eval()
    total, losses = start.objective.losses(batch, target)
    torch.testing.assert_close(losses, cross_entropy(hub(batch.canvas), batch.targets, target))
    without = started(HubPathway(**tiny, explore=0.0, exploit=False), sources)
    without.policy.load_state_dict(hub.state_dict())
    without.policy.eval()
    task, _ = without.objective.losses(batch, target)
    torch.testing.assert_close(task, 0.5 * losses.mean())
    total.backward()
    task.backward()
    for (name, one), (_, other) in zip(hub.named_parameters(), without.policy.named_parameters(), strict=True):
        if name.startswith("aggregator"):  # neither exploration nor exploitation reaches it
            torch.testing.assert_close(one.grad, other.grad)


def test_zoo_tuning_mixes_every_convolution_and_knowledge_flow_deploys_the_student_alone(tiny, sources):
    zoo = started(ZooTuning(**tiny), sources).policy
    assert sum(isinstance(module, MixedConv) for module in zoo.modules()) == 2
    flow = started(KnowledgeFlow(**tiny), sources)
    assert flow.policy.state_dict().keys() == started(METHODS["fine-tune"](**tiny), sources).policy.state_dict().keys()
    companions = flow.objective.companions()
    assert companions is not None
    assert not any(p.requires_grad for name, p in companions.named_parameters() if name.startswith("teachers"))


def test_what_cannot_be_transferred_is_said(tiny, sources):
    with pytest.raises(ConfigurationError, match="top_k = 3 with 2 policies"):
        started(HubPathway(**tiny, top_k=3), sources)
    with pytest.raises(ConfigurationError, match="was given 1 policies; expected at least 2"):
        HubPathway(**tiny).check_sources(sources[:1])
    with pytest.raises(ConfigurationError, match="sees 2 frames of 30 pixels"):
        HubPathway(**tiny | {"history": 4}).check_sources(sources)
    assert started(HubPathway(**tiny, random_path=True, heads="fresh"), sources, (*ACTIONS, "WAIT")).notes == ()
    with pytest.raises(ConfigurationError, match=r"estimates returns with lowest_return=-1.0, and the settings say lowest_return=-2.0"):
        HubPathway(**tiny | {"lowest_return": -2.0}).check_sources(sources)
    other = tiny | {"discount": 0.5}
    HubPathway(**other).check_sources(sources)  # its last layers learn the new returns from nothing
    with pytest.raises(ConfigurationError, match=r"with discount=0.9, .* say discount=0.5; set discount=0.9"):
        HubPathway(**other, heads="all").check_sources(sources)
    notes = started(HubPathway(**tiny), sources, (*ACTIONS, "WAIT")).notes
    assert len(notes) == 2
    assert all("last layer of the advantages is drawn anew" in note for note in notes)
