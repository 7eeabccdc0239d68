import importlib
import sys
from pathlib import Path

import pytest

from hubtune.engines import engine_named


@pytest.fixture(scope="session")
def ray_workers():
    """A Ray cluster of two machines, one processor each, on this one."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'hubtune[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def jobs(monkeypatch):
    """The module of functions, where this process and workers can import it."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    yield importlib.import_module("engine_jobs")
    sys.modules.pop("engine_jobs")


@pytest.fixture(params=["one-process", "joblib", "ray"])
def engine(request):
    if request.param == "ray":
        request.getfixturevalue("ray_workers")
    return engine_named(request.param, workers=2 if request.param == "joblib" else None)
