"""Every setting of Data-Efficient Rainbow."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from hubtune.training.method import Method

Count = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class DataEfficientRainbow(Method):
    """How an agent learns to play, whatever its network starts from.

    Source: van Hasselt, Hessel and Aslanides (2019), When to use parametric models in reinforcement learning?, appendix E; what it does not
    name is as in Hessel et al. (2018), Rainbow. The second of two convolutions has a kernel of 5 and a stride of 5.
    Differs from the paper: priorities are powers of the cross-entropy, not of the divergence, as in both known implementations.
    """

    name: ClassVar[str] = "data-efficient-rainbow"

    steps: Count = 100_000
    """Agent steps, of ``frame_skip`` screens each."""

    atoms: Annotated[int, Field(ge=2)] = 51
    """Returns that a distribution is over."""
    lowest_return: Finite = -10.0
    """The first atom."""
    highest_return: Finite = 10.0
    """The last atom."""
    hidden: Count = 256
    """Units of each noisy hidden layer."""
    noisy_sigma: Annotated[float, Field(ge=0)] = 0.1
    """Noise of the noisy layers at first, over the square root of their inputs."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Of Adam."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1.5e-4
    """Of Adam."""
    batch_size: Count = 32
    """Transitions a step of learning."""
    clip_gradient: Annotated[float, Field(gt=0)] = 10.0
    """Largest norm of the gradient."""
    discount: Share = 0.99
    """gamma."""
    n_step: Count = 20
    """Steps after which the return is estimated by the network."""
    learn_every: Count = 1
    """Agent steps between steps of learning."""
    learn_from: Annotated[int, Field(ge=0)] = 1600
    """Agent steps before the first step of learning."""
    target_update: Count = 2000
    """Agent steps between copies of the network to the target network."""

    replay_capacity: Count = 100_000
    """Agent steps that are remembered."""
    priority_exponent: Share = 0.5
    """omega."""
    importance: Share = 0.4
    """beta at the first step of learning; it grows linearly to 1 at the last."""

    frame_skip: Count = 4
    """Screens that an action lasts; the last two are seen as their maximum."""
    frame_size: Annotated[int, Field(ge=25)] = 84
    """Side in pixels of what the agent sees, in grey."""
    history: Count = 4
    """Frames in a stack."""
    clip_reward: Annotated[float, Field(gt=0)] | None = 1.0
    """Rewards are clipped to plus and minus this for learning; None leaves them."""
    life_loss_ends: bool = True
    """Whether a lost life ends an episode, for learning only: the game goes on."""
    no_ops: Annotated[int, Field(ge=0)] = 30
    """A game begins after 0 to so many screens without action, at random."""
    sticky_actions: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a screen repeats the last action."""
    episode_frames: Count = 108_000
    """Screens after which a game is ended: half an hour."""

    evaluate_every: Count = 10_000
    """Agent steps between evaluations; there is one after the last step in any case."""
    evaluation_episodes: Count = 10
    """Games of an evaluation."""
    test_episodes: Count = 30
    """Games that the trained policy is scored by; the error of 100 is about half that of 30."""
    evaluation_frames: Count = 18_000
    """Screens after which a game of an evaluation or a test is ended: five minutes. A policy without noise may wait forever."""
    evaluation_epsilon: Share = 0.001
    """Probability of a random action in an evaluation or a test."""

    def mistakes(self) -> list[str]:
        found = []
        if self.lowest_return >= self.highest_return:
            found.append(
                f"lowest_return = {self.lowest_return}, highest_return = {self.highest_return}: expected the first below the second"
            )
        if self.replay_capacity <= self.n_step + self.history:
            found.append(f"replay_capacity = {self.replay_capacity}: expected more than n_step + history = {self.n_step + self.history}")
        return found

    def clipped(self, reward: float) -> float:
        """A reward as learning sees it."""
        return reward if self.clip_reward is None else max(-self.clip_reward, min(self.clip_reward, reward))

    def importance_at(self, step: int) -> float:
        """beta at an agent step."""
        learning = max(1, self.steps - self.learn_from)
        return self.importance + (1 - self.importance) * min(1.0, max(0, step - self.learn_from) / learning)
