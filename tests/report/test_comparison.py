"""The sections of a comparison and of a routed run: what they show, and what they leave out."""

import html
import io
import json
import re
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import Console

from hubtune import report
from hubtune.report import page as page_module
from hubtune.report.comparison import pareto
from hubtune.report.labels import place
from hubtune.report.record import parse


@pytest.fixture
def folder(tmp_path, make_run, make_comparison):
    return make_run(tmp_path / "run", make_comparison())


def page(record: dict, folder: Path) -> str:
    with patch.object(page_module, "get_plotlyjs", return_value="'plotly'"):
        return report.render(record, folder)


def text_of(page: str, section: str) -> str:
    [body] = re.findall(rf'<section id="{section}".*?</section>', page, re.DOTALL)
    body = re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_of_a_comparison_says_what_was_found(folder, make_comparison):
    made = page(make_comparison(), folder)
    assert (
        "Of 8 methods over 3 seeds, hub-pathway k = 3 does best: test accuracy 67.4%, at 81.0 M FLOPs an image; 1 failed."
        in html.unescape(made)
    )
    table = text_of(made, "comparison")
    assert "67.1% ± 0.8 +7.0 (+5.1 to +9.1)" in table
    assert "failed: a soup was asked of different architectures" in table
    room = text_of(made, "headroom")
    assert room.index("best-single") < room.index("ensemble-top-k") < room.index("hub-pathway") < room.index("oracle")
    assert "hub-pathway: top_k" in text_of(made, "sweeps")
    assert "cost_weight" not in text_of(made, "sweeps")
    assert "83.0% 61.0% 1.58 k" in text_of(made, "paths")
    samples = text_of(made, "samples")
    assert "resnet8_glyphs 60%" in samples
    assert samples.count("truly") == 1
    assert made.count("data:image/png") == 12


def test_a_list_of_one_number_is_drawn_like_the_number(folder, make_comparison):
    record = make_comparison()
    routed = [row for row in record["comparison"]["rows"] if row["method"] == "hub-pathway"]
    for rate, row in zip((0.1, 0.01, 0.001), routed, strict=True):
        row["config"] = {"top_k": 2, "learning_rates": [rate], "explore": [0.1, 1.0], "exploit": True}
    swept = text_of(page(record, folder), "sweeps")
    assert "hub-pathway: learning_rates" in swept
    assert "explore" not in swept


def test_the_front_holds_what_no_other_is_cheaper_and_better_than(make_comparison):
    found = parse(make_comparison()).comparison
    front = [row.label for row in pareto(found.rows, found)]
    assert front == ["distill", "hub-pathway", "hub-pathway k = 3"]
    labels = {row.label: row for row in found.rows}
    for name, other in labels.items():
        if name not in front and other.flops and not other.analysis:
            assert any(labels[f].flops <= other.flops and found.score(labels[f]) >= found.score(other) for f in front)


def test_labels_do_not_cover_each_other():
    points = [(7.4, 0.6 + 0.002 * i, "a method's name") for i in range(6)]
    annotations = place(points, [0.01] * 6, [(7.0, 0.6), (7.9, 0.7)], (7.0, 8.0), (0.55, 0.7))
    boxes = []
    for (x, y, text), note in zip(points, annotations, strict=True):
        px, py = (x - 7) * 1000 + note["ax"], (1 - (y - 0.55) / 0.15) * 350 + note["ay"]
        boxes.append((px - 3.2 * len(text), py - 7.5, px + 3.2 * len(text), py + 7.5))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_paths_without_single_models_say_what_is_missing(folder, make_comparison):
    record = make_comparison()
    for path in record["paths"]:
        path["quality"] = None
    assert "add fine-tune to the methods" in text_of(page(record, folder), "paths")
    del record["comparison"]
    assert "hubtune compare DATA" in text_of(page(record, folder), "paths")
    record["task"]["kind"] = "landmarks"
    assert "fine-tuned alone" not in text_of(page(record, folder), "paths")


@pytest.mark.parametrize("part", ["comparison", "paths"])
def test_a_part_that_is_absent_is_a_section_less(folder, part, make_comparison):
    record = make_comparison()
    del record[part]
    assert f'<section id="{part}"' not in page(record, folder)
    assert '<section id="comparison"' not in page({"format": 1}, folder)


def test_nothing_that_ended_well_is_a_table_of_reasons(folder, make_comparison):
    record = deepcopy(make_comparison())
    record["comparison"]["rows"] = record["comparison"]["rows"][7:8]
    made = page(record, folder)
    assert "failed: a soup" in text_of(made, "comparison")
    assert "pareto-chart" not in made


def test_no_name_becomes_an_element(folder, make_comparison):
    evil = "<img src=x onerror=alert(1)>"
    text = json.dumps(make_comparison()).replace("hub-pathway k = 1", evil).replace("vit_dots", evil).replace('"top_k"', f'"{evil}"')
    made = page(json.loads(text), folder)
    assert "<img src=x" not in made
    assert html.escape(evil) in made


def test_the_terminal_shows_the_same_table(make_comparison):
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(report.comparison_table(make_comparison()))
    shown = console.file.getvalue()
    assert re.search(r"hub-pathway +67\.1% ± 0\.8 +\+7\.0 \(\+5\.1 to \+9\.1\) +55\.0 M", shown)
    assert "soup-uniform: a soup was asked of different architectures" in shown
