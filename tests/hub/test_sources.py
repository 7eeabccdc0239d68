"""How a description finds its source."""

import pytest
import torch

from hubtune.errors import ConfigurationError, ModelError, UnknownNameError
from hubtune.hub import SOURCES, Hub
from hubtune.hub import demo as demo_module


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_hub_source.py").write_text(
        "from hubtune.hub import Hub\n"
        "def open_own(text: str) -> Hub:\n    return Hub(notes=[text])\n"
        "def open_other(text):\n    raise AssertionError('must not be called')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_folders_paths_and_single_descriptions(zoo, monkeypatch):
    assert len(Hub.open(str(zoo))) == len(Hub.open(zoo)) == len(Hub.open(f"local:{zoo}")) == 3
    assert Hub.open(zoo / "alpha").names == ("alpha",)
    assert Hub.open(zoo / "nested" / "checkpoints" / "beta.json").names == ("beta",)
    monkeypatch.chdir(zoo)
    assert Hub.open("nested").names == ("beta",)
    assert Hub.open(".").names == Hub.open(zoo).names


def test_several_sources_are_joined(zoo):
    parts = [zoo / "alpha", zoo / "gamma"]
    assert Hub.open(parts).names == Hub.open(f"{parts[0]}+{parts[1]}").names == ("alpha", "gamma")
    with pytest.raises(ConfigurationError, match="empty list"):
        Hub.open([])


@pytest.mark.parametrize("spec", ["demoo", "timmm", "", "nothing:here", "os.path:nothing"])
def test_an_unknown_source_lists_the_known_ones(spec):
    with pytest.raises(UnknownNameError) as caught:
        Hub.open(spec)
    assert all(name in str(caught.value) for name in SOURCES)


def test_a_near_name_is_suggested():
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        Hub.open("demmo")


@pytest.mark.parametrize("spec", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "local:nowhere", "local:"])
def test_a_missing_folder_says_so(spec):
    with pytest.raises(ModelError, match="does not exist"):
        Hub.open(spec)


def test_a_function_of_ones_own_is_a_source(own_module):
    assert Hub.open("my_hub_source:open_own").notes == ("",)
    assert Hub.open("my_hub_source:open_own:some text").notes == ("some text",)


@pytest.mark.parametrize("spec", ["my_hub_source:open_other", "os:system:true", "builtins:exec:1", "torch:load:x"])
def test_what_is_not_known_to_return_a_hub_is_not_called(own_module, spec):
    with pytest.raises(ModelError, match="annotate it"):
        Hub.open(spec)


def test_demo_opens_the_embedded_folder(zoo, monkeypatch):
    monkeypatch.setattr(demo_module, "FOLDER", zoo)
    hub = Hub.open("demo")
    assert [card.source for card in hub] == [f"demo:{name}" for name in hub.names]
    assert Hub.open("demo:beta").names == ("beta",)
    assert torch.isfinite(hub.load("beta").embed(torch.zeros(1, 3, 16, 16))).all()
    with pytest.raises(UnknownNameError, match="did you mean 'beta'"):
        Hub.open("demo:betta")


def test_a_missing_embedded_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "FOLDER", tmp_path / "none")
    with pytest.raises(ModelError, match="install hubtune again"):
        Hub.open("demo")
