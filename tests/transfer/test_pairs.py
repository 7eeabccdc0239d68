import pytest

from hubtune.errors import ConfigurationError
from hubtune.transfer import L2TW, L2TWW, AttentionTransfer, FeatureMatching
from hubtune.transfer.networks import Observer
from hubtune.transfer.pairs import Layer, choose_pairs


def layers(*sides, prefix="stage"):
    return [Layer(name=f"{prefix}{i}", channels=4, height=side, width=side) for i, side in enumerate(sides)]


def names(matching, sources, target):
    return [pair.name for pair in choose_pairs(matching, sources, target)]


@pytest.mark.parametrize(
    ("source", "target", "input_size", "counts"),
    [("cifar_resnet32", "vgg9", 32, (1, 3, 15)), ("resnet34", "resnet18", 64, (1, 4, 16))],
)
def test_the_papers_pairs_come_out(backbone_of, source, target, input_size, counts):
    source, target = (Observer(backbone_of(name, input_size=input_size)).layers for name in (source, target))
    for matching, count in zip(("single", "one-to-one", "all-to-all"), counts, strict=True):
        pairs = choose_pairs(matching, [("s", source)], target)
        assert len(pairs) == count
        if matching != "all-to-all":
            assert all(source[pair.source_layer].height == target[pair.target_layer].height for pair in pairs)
    assert choose_pairs("single", [("s", source)], target)[0].source_layer == len(source) - 1


def test_figure_3_between_resnet32_and_vgg9():
    source, target = layers(32, 16, 8), layers(32, 16, 8, 4, 2, prefix="t")
    assert names("single", [("s", source)], target) == ["s/stage2 -> t2"]
    assert names("one-to-one", [("s", source)], target) == ["s/stage0 -> t0", "s/stage1 -> t1", "s/stage2 -> t2"]


def test_without_an_equal_size_the_nearest_and_of_several_the_deepest():
    assert names("single", [("s", layers(14))], layers(32, 16, 16, 8, prefix="t")) == ["s/stage0 -> t2"]
    assert names("one-to-one", [("vit", layers(14, 14, 14, 14))], layers(32, 16, 8, prefix="t")) == ["vit/stage3 -> t1"]


def test_pairs_over_all_sources():
    assert len(choose_pairs("all-to-all", [("a", layers(8, 4)), ("b", layers(8, 4, 2))], layers(8, 4))) == 10


def test_explicit_pairs_take_every_source_with_that_layer_unless_one_is_named():
    sources, target = [("a", layers(8, 4)), ("b", layers(8, 4))], layers(8, 4, prefix="t")
    assert names((("stage1", "t0"),), sources, target) == ["a/stage1 -> t0", "b/stage1 -> t0"]
    assert names((("b/stage1", "t0"),), sources, target) == ["b/stage1 -> t0"]


def test_a_stem_is_matched_only_when_named():
    source = [Layer(name="act1", channels=4, height=16, width=16), *layers(8, 4, prefix="layer")]
    assert len(choose_pairs("all-to-all", [("s", source)], layers(8))) == 2
    assert names((("act1", "stage0"),), [("s", source)], layers(8)) == ["s/act1 -> stage0"]


def test_absent_layers_and_networks_without_maps_are_named():
    with pytest.raises(
        ConfigurationError, match=r"'x' is a layer of no source; 'y' is no layer of the target.*\n  s: stage0\n  target: stage0"
    ):
        choose_pairs((("x", "y"),), [("s", layers(8))], layers(8))
    with pytest.raises(ConfigurationError, match="none are given"):
        choose_pairs((), [("s", layers(8))], layers(8))
    with pytest.raises(ConfigurationError, match=r"s offers no feature maps.*lwf"):
        choose_pairs("single", [("s", [])], layers(8))


def test_configurations_from_a_command_line_and_back():
    assert L2TWW().pairs == "all-to-all"
    assert L2TW().pairs == "one-to-one"
    assert L2TWW.from_config({"pairs": "single"}).pairs == "single"
    method = AttentionTransfer.from_config({"pairs": "layer1.0:stages.0,layer2.0:stages.3", "target": "vgg9"})
    assert method.pairs == (("layer1.0", "stages.0"), ("layer2.0", "stages.3"))
    assert AttentionTransfer.from_config(method.config()) == method
    with pytest.raises(ConfigurationError, match="all-to-all"):
        L2TWW.from_config({"pairs": "everything"})


@pytest.mark.parametrize("pairs", ["foo", ("foo",), ("a", "b:c"), (("a", "b", "c"),)])
def test_what_is_no_matching_is_told_what_is(pairs):
    with pytest.raises(
        ConfigurationError, match=r"pairs = .*: expected single, one-to-one, all-to-all, or pairs source-layer:target-layer"
    ):
        FeatureMatching(pairs=pairs)
