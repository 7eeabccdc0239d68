"""Jobs on a cluster, by Ray."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from hubtune.engines.engine import ATTEMPTS, Answer, Job, do_one
from hubtune.errors import EngineError, MissingExtraError

PASSED_ON = ("HUBTUNE_", "HF_", "OMP_WAIT_POLICY", "PYTHONPATH", "TORCH_HOME", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
"""Beginnings of the environment variables that workers share with the process that asks: folders above all."""


@final
@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """The engine for many machines. They share the folders of runs, cache, models and data, under the same paths."""

    address: str | None = None
    """``ray://host:port``; None is the cluster this machine belongs to (or ``RAY_ADDRESS``), else one is started on this machine."""
    gpus_per_worker: float = 0.0
    """GPUs that each job is given, such as 1 or 0.5; 0 computes on the CPU."""

    @property
    def default_device(self) -> str:
        return "cuda" if self.gpus_per_worker else "cpu"

    def do(self, function: Callable[[Job], Answer], jobs: Sequence[Job], *, threads: int | None = None) -> Iterator[tuple[int, Answer]]:
        ray = _import_ray()
        self._connect(ray)
        # A reference within a tuple is passed on as it is: every worker fetches what the jobs share once, not once a job.
        shared = (ray.put(function),)
        remote = ray.remote(_fetch_and_do).options(
            num_cpus=self._share(ray, threads or 1),
            num_gpus=self.gpus_per_worker,
            max_retries=ATTEMPTS - 1,
            runtime_env={"env_vars": {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}},
        )
        pending = {remote.remote(shared, job, threads): position for position, job in enumerate(jobs)}
        try:
            while pending:
                [done], _ = ray.wait(list(pending), num_returns=1)
                answer = ray.get(done)
                yield pending.pop(done), answer
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
            cause = str(error).strip().splitlines()[0]
            raise EngineError(f"a job lost its worker {ATTEMPTS} times ({cause}); the same command goes on from there") from error
        finally:
            # An interrupted training writes a checkpoint: a job under way is interrupted, not killed.
            for reference in pending:
                ray.cancel(reference)

    def _connect(self, ray: Any) -> None:
        if ray.is_initialized():
            return
        try:
            with warnings.catch_warnings(action="ignore"):  # the error says it all
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EngineError(
                f"no Ray cluster answers at {self.address or os.environ.get('RAY_ADDRESS', 'this machine')} ({cause}); "
                "expected ray://HOST:PORT of a running one of the same version, with its token where it asks for one; "
                "'ray start --head' starts one"
            ) from error

    def _share(self, ray: Any, threads: int) -> int:
        """Processors of a job: its threads, as far as any machine has so many."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        largest = max((machine.get("GPU", 0) for machine in machines), default=0)
        if self.gpus_per_worker > largest:
            raise EngineError(
                f"{self.gpus_per_worker:g} GPUs a worker were asked for, and no machine of the cluster has more than {largest:g}; "
                "give a smaller --gpus-per-worker"
            )
        return max(1, min(threads, int(max((machine.get("CPU", 1) for machine in machines), default=1))))


def _fetch_and_do(shared: tuple, job: Any, threads: int | None) -> Any:
    import ray

    return do_one(ray.get(shared[0]), job, threads)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Jobs without GPUs keep seeing what the machine's owner lets them see, as in Ray's coming versions.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    return ray
