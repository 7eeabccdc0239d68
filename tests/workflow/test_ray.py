"""A real Ray cluster of two machines, both on this one. One test, since starting a cluster takes longer than all that it checks."""

import importlib
import sys
from pathlib import Path

import pytest

import hubtune as ht
from hubtune.engines import RayCluster
from hubtune.errors import EngineError
from hubtune.runs import runs_folder

HERE = Path(__file__).parent


@pytest.fixture
def cluster(monkeypatch):
    """Two machines of one processor each."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'hubtune[ray]'")
    from ray.cluster_utils import Cluster

    for name in ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    yield found
    ray.shutdown()
    found.shutdown()


def test_a_cluster_says_the_same_bit_for_bit_though_a_worker_is_killed(cluster, task, hub, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    deadly = importlib.import_module("deadly")
    mark = tmp_path / "killed"
    method = deadly.Deadly(steps=20, batch_size=12, learning_rates=(0.01,), mark=str(mark), victim="vit")

    def road(name: str, engine):
        for variable in ("HUBTUNE_CACHE", "HUBTUNE_RUNS"):
            monkeypatch.setenv(variable, str(tmp_path / name / variable))
        rank = ht.search(hub, task, budget=2, proxies=("logme",), engine=engine)
        run = ht.tune(task, hub.subset(["resnet-a", "vit"]), method=method, engine=engine, workers=1, checkpoint_seconds=0)
        weights = {path.parent.parent.name: path.read_bytes() for path in runs_folder().glob("cells/*/model/model.safetensors")}
        picks = [(row["name"], row["scores"]) for row in rank.rows]
        return rank.picks.names, picks, [cell["metrics"] for cell in run.record["cells"]], weights

    mark.touch()
    expected = road("alone", None)
    mark.unlink()
    assert road("cluster", RayCluster()) == expected
    assert mark.exists()
    assert len(expected[-1]) == 2

    with pytest.raises(EngineError, match=r"8 GPUs a worker .* no machine of the cluster has more than 0"):
        list(RayCluster(gpus_per_worker=8).do(str, [1]))
    monkeypatch.setattr("hubtune.engines.ray_cluster.ATTEMPTS", 1)
    with pytest.raises(EngineError, match="lost its worker 1 times"):
        list(RayCluster().do(deadly.die, [1]))
    sys.modules.pop("deadly")
