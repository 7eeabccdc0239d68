"""Weights are tensors, never code, and fit exactly."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hubtune.errors import ModelError
from hubtune.hub.weights import load_exactly, read_weights, rename, sha256, weight_names


class Bomb:
    """What unpickling would call."""

    def __reduce__(self):
        return (exec, ("import sys; sys.exploded = True",))


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".bin", ".th", ".pkl"])
def test_a_file_with_code_is_refused_and_not_run(tmp_path, suffix):
    import sys

    path = tmp_path / f"model{suffix}"
    torch.save({"weight": torch.ones(2), "more": Bomb()}, path)
    with pytest.raises(ModelError, match="pickled Python objects"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError):
        read_weights(path)
    assert not hasattr(sys, "exploded")


def test_a_whole_saved_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(ModelError, match=r"safetensors\.torch\.save_file"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x80\x02."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_say_so(tmp_path, content, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"again|holds"):
        read_weights(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        read_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_weights_are_found_at_the_usual_places_as_float32(tmp_path, key):
    weights = {"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}
    torch.save(weights if key is None else {"epoch": 1, key: weights}, tmp_path / "net.pth")
    read = read_weights(tmp_path / "net.pth")
    assert read["a"].dtype == torch.float32
    assert read["n"].dtype == torch.int64
    assert torch.equal(read["a"], torch.ones(2))


def test_a_wrong_key_names_what_is_there(tmp_path):
    torch.save({"epoch": 1, "net": {"a": torch.ones(1)}}, tmp_path / "net.pth")
    with pytest.raises(ModelError, match="epoch, net"):
        read_weights(tmp_path / "net.pth")
    assert set(read_weights(tmp_path / "net.pth", "net")) == {"a"}


def test_the_longest_prefix_counts():
    assert rename({"module.fc.weight": 1, "module.conv.weight": 2, "other": 3}, {"module.": "", "module.fc.": "linear."}) == {
        "linear.weight": 1,
        "conv.weight": 2,
        "other": 3,
    }


def test_names_that_collide_are_refused():
    with pytest.raises(ModelError, match="two weights are called 'w'"):
        rename({"a.w": 1, "w": 2}, {"a.": ""})


def test_every_misfit_is_counted():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    state = net.state_dict()
    del state["0.weight"]
    state["0.bias"] = torch.ones(7)
    state["extra"] = torch.ones(1)
    with pytest.raises(ModelError) as caught:
        load_exactly(net, state)
    for part in ("1 lacking: 0.weight", "1 unexpected: extra", "1 of another shape: 0.bias (7,), not (3,)"):
        assert part in str(caught.value)


def test_step_counters_and_named_weights_may_lack():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    state = {name: torch.full_like(tensor, 2) for name, tensor in net.state_dict().items() if "tracked" not in name}
    del state["2.weight"], state["2.bias"], state["0.bias"]
    assert load_exactly(net, state, may_lack=("2.", "0.bias")) == {"2.weight", "2.bias", "0.bias"}
    assert torch.equal(net[0].weight, torch.full((3, 2), 2.0))


def test_a_hash_is_that_of_the_bytes_as_they_are_now(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_names_come_from_the_header(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "net.safetensors")
    assert weight_names(tmp_path / "net.safetensors") == {"a"}
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    assert weight_names(tmp_path / "bad.safetensors") is None
    assert weight_names(tmp_path / "net.pth") is None
