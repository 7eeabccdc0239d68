"""Playing: policies learnt by Data-Efficient Rainbow, from nothing or from a hub of policies of other games."""

from hubtune.rl.evaluation import Episode, evaluate, write_video
from hubtune.rl.experiment import PolicyRun, learn
from hubtune.rl.methods import METHODS, FineTune, HubPathway, KnowledgeFlow, PolicyMethod, Scratch, ZooTuning, policy_method
from hubtune.rl.playing import play_games
from hubtune.rl.policy import PolicyCard, SourcePolicy, load_policy, open_policies, save_policy
from hubtune.rl.scores import human_normalised
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.rl.world import Outcome, World, world_named

__all__ = [
    "METHODS",
    "DataEfficientRainbow",
    "Episode",
    "FineTune",
    "HubPathway",
    "KnowledgeFlow",
    "Outcome",
    "PolicyCard",
    "PolicyMethod",
    "PolicyRun",
    "Scratch",
    "SourcePolicy",
    "World",
    "ZooTuning",
    "evaluate",
    "human_normalised",
    "learn",
    "load_policy",
    "open_policies",
    "play_games",
    "policy_method",
    "save_policy",
    "world_named",
    "write_video",
]
