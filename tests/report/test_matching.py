"""The sections of a transfer: the picture of the pairs, lambda over the training, channels, and saliency."""

import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from unittest.mock import patch

import plotly.graph_objects as go
import pytest
from PIL import Image

from hubtune import report
from hubtune.errors import RunError
from hubtune.report import page as page_module

EVIL = "<script>alert(1)</script>"


def pair(source, source_layer, target_layer, lambdas, spread=0.1):
    return {
        "name": "a/b -> c",
        "source": source,
        "source_layer": source_layer,
        "target_layer": target_layer,
        "lambda_mean": lambdas,
        "lambda_std": [spread] * len(lambdas),
        "channels": 16,
        "top_channels": [[3, 0.25], [7, 0.1]],
    }


def network(name, *sides):
    return {"name": name, "layers": [{"name": f"{name}.{i}", "size": [16, side, side]} for i, side in enumerate(sides)]}


@pytest.fixture
def record():
    matching = {
        "sources": [network("resnet", 32, 16, 8), network("vit", 8)],
        "target": network("vgg", 32, 16),
        "progress": [0.1, 0.5, 0.9],
        "pairs": [pair(0, 2, 1, [1.0, 2.0, 3.0]), pair(0, 0, 0, [1.0, 0.5, 0.05]), pair(1, 0, 1, [1.0, 1.0, 0.5])],
    }
    return {"format": 1, "summary": {"matching": matching, "meta_steps": 3}}


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


def rendered(record, folder):
    with patch.object(page_module, "get_plotlyjs", return_value="'plotly'"):
        return Page(report.render(record, folder))


def figures(record, folder):
    with patch.object(page_module, "get_plotlyjs", return_value="'plotly'"):
        html = report.render(record, folder)
    scripts = re.findall(r'<script type="application/json" data-for="(lambda[^"]*)">(.*?)</script>', html)
    return {key: json.loads(spec)["views"][0] for key, spec in scripts}


def test_lines_are_as_thick_as_lambda_and_small_ones_are_left_out(record, tmp_path):
    page = rendered(record, tmp_path)
    widths = sorted(float(line["stroke-width"]) for line in page.all("line"))
    assert len(widths) == 2
    assert widths[1] / widths[0] == pytest.approx(3.0 / 0.5, rel=0.01)
    assert "1 of 3 pairs with lambda below 0.1 are left out" in page.text
    assert "resnet/resnet.2 \N{RIGHTWARDS ARROW} vgg.1: 3.00" in page.text
    assert "16\N{MULTIPLICATION SIGN}8\N{MULTIPLICATION SIGN}8" in page.text


def test_lambda_is_drawn_by_source_layer_with_its_spread(record, tmp_path):
    drawn = figures(record, tmp_path)
    assert list(drawn) == ["lambda-0-0", "lambda-0-2", "lambda-1-0"]
    band, line = drawn["lambda-0-2"]["data"]
    assert line["y"] == [1.0, 2.0, 3.0]
    assert band["y"] == pytest.approx([1.1, 2.1, 3.1, 2.9, 1.9, 0.9])
    assert len({tuple(view["layout"]["yaxis"]["range"]) for view in drawn.values()}) == 1
    for view in drawn.values():
        figure = json.loads(re.sub(r"var\(--[a-z-]+\)", "#123456", json.dumps(view)))
        go.Figure(data=figure["data"], layout=figure["layout"])


def test_channels_are_compared_with_the_average(record, tmp_path):
    assert re.search("3\\s+4[.]00 \N{MULTIPLICATION SIGN}", rendered(record, tmp_path).text)


def test_amounts_that_were_not_learnt_are_drawn_alike(record, tmp_path):
    for row in record["summary"]["matching"]["pairs"]:
        row |= {"lambda_mean": [], "lambda_std": []}
    page = rendered(record, tmp_path)
    assert len({line["stroke-width"] for line in page.all("line")}) == 1
    assert len(page.all("line")) == 3
    assert "All pairs count alike" in page.text
    assert figures(record, tmp_path) == {}
    for row in record["summary"]["matching"]["pairs"]:
        row |= {"lambda_mean": [1.0] * 3, "lambda_std": [0.0] * 3}
    page = rendered(record, tmp_path)
    assert "the weights of their channels were learnt" in page.text
    assert "4.00 \N{MULTIPLICATION SIGN}" in page.text
    # Learnt amounts that never varied are not amounts that were not learnt.
    record["summary"]["matching"]["where"] = True
    assert "A line's width is lambda" in rendered(record, tmp_path).text


def test_names_are_text(record, tmp_path):
    matching = record["summary"]["matching"]
    for part in (*matching["sources"], matching["target"]):
        part["name"] = EVIL
        for layer in part["layers"]:
            layer["name"] = EVIL
    page = rendered(record, tmp_path)
    clean = rendered({"format": 1, "history": [{"step": 0, "train_loss": 1.0}]}, tmp_path)
    assert len([1 for script in page.all("script") if "type" not in script]) == len([1 for s in clean.all("script") if "type" not in s])
    assert page.text.count(EVIL) >= 3


def test_pairs_of_absent_layers_are_a_damaged_record(record, tmp_path):
    for key, value in (("source", 2), ("source_layer", 3), ("target_layer", 2), ("lambda_std", [0.1])):
        damaged = deepcopy(record)
        damaged["summary"]["matching"]["pairs"][0][key] = value
        with pytest.raises(RunError, match=r"summary\.matching"):
            report.render(damaged, tmp_path)


def test_other_findings_of_a_training_are_left_alone(tmp_path):
    assert "matching" not in rendered({"format": 1, "summary": {"pathway_weights": [0.5, 0.5]}}, tmp_path).sections


def test_saliency_shows_three_pictures_an_image(tmp_path):
    names = [f"saliency-{i}-{kind}" for i in range(2) for kind in ("image", "less", "more")]
    (tmp_path / "pictures").mkdir()
    for name in names[:-1]:
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / f"{name}.png")
    page = rendered({"format": 1, "pictures": [*names, "something else", "saliency-x-image"]}, tmp_path)
    assert page.sections == ["result", "saliency", "reproduce"]
    assert len(page.all("img")) == 5
    assert "image not kept" in page.text


def test_the_target_is_what_classifies(record, tmp_path):
    record |= {
        "chosen": {"method": "l2t-ww", "models": ["resnet", "vit"], "config": {"target": "vgg9"}},
        "metrics": {"test_accuracy": 0.5},
    }
    assert "With l2t-ww, vgg9 taught by 2 models (resnet, vit) classifies 50.0% of the test images" in rendered(record, tmp_path).text
