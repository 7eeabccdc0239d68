"""Engines by name."""

from hubtune.engines.engine import Engine
from hubtune.engines.one_process import OneProcess
from hubtune.engines.ray_cluster import RayCluster
from hubtune.engines.side_by_side import SideBySide
from hubtune.errors import ConfigurationError, unknown_name

ENGINES = ("one-process", "joblib", "ray", "ray://HOST:PORT")


def engine_named(name: str, *, workers: int | None = None, gpus_per_worker: float = 0.0) -> Engine:
    """An engine from its name.

    Args:
        name: "one-process", "joblib", "ray", or "ray://host:port".
        workers: processes of joblib.
        gpus_per_worker: of Ray.

    Raises:
        UnknownNameError: no such engine.
        ConfigurationError: options that the engine does not have.
    """
    remote = name == "ray" or name.startswith("ray://")
    if gpus_per_worker < 0 or (gpus_per_worker and not remote):
        raise ConfigurationError(
            f"gpus_per_worker = {gpus_per_worker:g} was given with the engine {name!r}; expected at least 0, and 0 for any engine but ray"
        )
    if remote:
        return RayCluster(address=None if name == "ray" else name, gpus_per_worker=gpus_per_worker)
    if name == "joblib":
        return SideBySide(workers=workers)
    if name == "one-process":
        return OneProcess()
    raise unknown_name("engine", name, ENGINES)
