"""timm's own table as a hub; weights from a faked cache."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from hubtune.errors import ModelError, UnknownNameError
from hubtune.hub import Hub, download
from hubtune.hub import timm as timm_source
from hubtune.hub.timm import pretraining_facts
from hubtune.hub.timm_backbone import Blueprint
from hubtune.hub.timm_sizes import size_of, write_table

NAME = "test_resnet.r160_in1k"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Random weights where Hugging Face would have cached the real ones."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet").eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(timm_source, "cached_huggingface", lambda repository, names: tmp_path / "model.safetensors")
    return network


def test_cards_come_from_tables_without_building(monkeypatch):
    def refuse(blueprint):
        raise ModelError("not to be built")

    monkeypatch.setattr(Blueprint, "measure", refuse)
    hub = Hub.open("timm")
    assert len(hub) > 1700
    assert len(hub.notes) == 1
    small = hub.where("params < 5e6 and upstream_dataset = 'ImageNet-1k' and input_size <= 224")
    assert 50 < len(small) < len(hub)
    card = hub["resnet50.a1_in1k"]
    assert (card.params, card.feature_dim, card.num_classes, card.input_size) == (25_557_032, 2048, 1000, 224)
    assert card.flops == pytest.approx(2 * 4.11e9, rel=0.02)
    assert (card.license, card.pretraining, card.paradigm) == ("apache-2.0", "ImageNet-1k", "supervised classification")


def test_a_projection_is_no_classifier():
    card = Hub.open("timm:resnet50_clip.openai")["resnet50_clip.openai"]
    assert (card.num_classes, card.paradigm, card.upstream_dataset) == (0, "image-text contrastive", None)


def test_a_pattern_chooses():
    assert set(Hub.open("timm:resnet18.*").names) >= {"resnet18.a1_in1k", "resnet18.tv_in1k"}
    assert Hub.open(f"timm:{NAME}").names == (NAME,)
    with pytest.raises(UnknownNameError, match="did you mean"):
        Hub.open("timm:resnet51.a1_in1k")


def test_the_table_is_what_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(timm, "list_pretrained", lambda: [NAME, "test_vit.r160_in1k", "vit_base_patch16_sapiens2.fb"])
    write_table(tmp_path / "table.csv")
    header, *rows = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "architecture,input_size,params,flops,feature_dim,has_head"
    for row in rows:
        architecture, *values = row.split(",")
        size = size_of(architecture, int(values[0]))
        assert size is not None
        assert [int(value) for value in values[1:]] == list(size)
    assert len(rows) == 2


def test_a_network_missing_from_the_table_is_counted(monkeypatch):
    [known] = Hub.open(f"timm:{NAME}")
    monkeypatch.setattr(timm_source, "size_of", lambda architecture, input_size: None)
    assert list(Hub.open(f"timm:{NAME}")) == [known]


@pytest.mark.parametrize("input_size", [None, 96])
def test_cached_weights_load_without_a_connection(cached, monkeypatch, input_size):
    monkeypatch.setattr(download, "_answers", lambda host, port: pytest.fail("asked the network"))
    backbone = Hub.open(f"timm:{NAME}").load(NAME, input_size=input_size)
    canvas = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8)
    with torch.no_grad():
        x = backbone.view(canvas)
        torch.testing.assert_close(backbone.logits(x), cached(x), rtol=1e-5, atol=1e-5)
    assert backbone.input_size == (input_size or 160)


def test_offline_a_missing_model_says_what_to_do(monkeypatch):
    monkeypatch.setattr(timm_source, "cached_huggingface", lambda repository, names: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: pytest.fail("tried to download"))
    with pytest.raises(ModelError, match=r"model 'test_resnet\.r160_in1k' .*not on this machine.*HF_HUB_OFFLINE"):
        Hub.open(f"timm:{NAME}").load(NAME)


@pytest.mark.parametrize(
    ("tag", "num_classes", "pretraining", "paradigm", "images"),
    [
        ("a1_in1k", 1000, "ImageNet-1k", "supervised classification", 1_281_167),
        ("augreg_in21k_ft_in1k", 1000, "ImageNet-21k, then ImageNet-1k", "supervised classification", 14_197_122),
        ("ns_jft_in1k", 1000, "JFT-300M, then ImageNet-1k", "supervised classification", 300_000_000),
        ("lvd142m", 0, "LVD-142M", "self-supervised", 142_000_000),
        ("mae", 0, "ImageNet-1k", "self-supervised", 1_281_167),
        ("orig_in21k", 0, "ImageNet-21k", "supervised classification", 14_197_122),
        ("sa1b", 0, "SA-1B", "promptable segmentation", 11_000_000),
        ("c_radio", 0, "unknown", "unknown", None),
        ("laion2b", 512, "LAION-2B", "image-text contrastive", 2_000_000_000),
        ("openai_ft_in12k_in1k", 1000, "WIT-400M, then ImageNet-12k, then ImageNet-1k", None, 400_000_000),
        ("sbb_in12k", 11821, "ImageNet-12k", "supervised classification", 12_000_000),
        ("", 1000, "unknown", "supervised classification", None),
    ],
)
def test_a_tag_tells_of_the_pretraining(tag, num_classes, pretraining, paradigm, images):
    facts = pretraining_facts(tag, num_classes)
    assert facts["pretraining"] == pretraining
    assert facts["paradigm"] == (paradigm or "image-text contrastive, then supervised classification")
    assert facts["upstream_images"] == images
