"""A policy of a folder at play."""

from pathlib import Path
from typing import Any

from hubtune.errors import ConfigurationError
from hubtune.rl.evaluation import evaluate, write_video
from hubtune.rl.policy import load_policy
from hubtune.rl.scores import human_normalised
from hubtune.rl.world import world_named
from hubtune.training.runtime import Runtime


def play_games(
    policy: Path | str, game: str, *, episodes: int = 10, seed: int = 0, video: Path | None = None, device: str | None = None
) -> dict[str, Any]:
    """What a policy scores in a game.

    Args:
        policy: a run's folder, or a policy's.
        game: such as "Gopher"; the policy's own, or another one with as many actions.
        seed: decides the games.
        video: where the first game is written as an animation.

    Returns:
        ``episodes`` (score, steps, cut of each), their mean ``score``, ``human_normalised`` (None without published scores).

    Raises:
        RunError: there is no policy.
        ConfigurationError: the game has another number of actions.
    """
    if episodes < 1:
        raise ConfigurationError(f"{episodes} episodes were asked for; expected at least 1")
    if video is not None and (video.is_dir() or not video.parent.is_dir()):
        raise ConfigurationError(
            f"the video was asked to be written to {video}; expected a file, such as game.gif, in a folder that exists"
        )
    network, card = load_policy(policy)
    settings = card.play
    make_world = world_named(game, settings)
    world = make_world()
    name, actions = world.name, world.actions
    world.close()
    if len(actions) != len(card.actions):
        raise ConfigurationError(
            f"the policy was trained on {card.game} with {len(card.actions)} actions, and {name} has {len(actions)}; give a game with as "
            f"many, or transfer it: hubtune rl transfer {game} --from {policy} --method fine-tune"
        )
    device_ = Runtime(device_name=device).device
    played = evaluate(network.to(device_), make_world, settings, episodes=episodes, seed=seed, device=device_, filmed=video is not None)
    if video is not None:
        write_video(played[0].pictures, video)
    score = sum(episode.score for episode in played) / len(played)
    return {
        "game": name,
        "policy": str(policy),
        "score": score,
        "human_normalised": human_normalised(name, score),
        "episodes": [{"score": episode.score, "steps": episode.steps, "cut": episode.cut} for episode in played],
    }
