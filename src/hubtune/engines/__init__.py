"""Doing many independent jobs: one after another, side by side, or on a cluster."""

from hubtune.engines.engine import Engine
from hubtune.engines.naming import engine_named
from hubtune.engines.one_process import OneProcess
from hubtune.engines.ray_cluster import RayCluster
from hubtune.engines.side_by_side import SideBySide

__all__ = ["Engine", "OneProcess", "RayCluster", "SideBySide", "engine_named"]
