"""The page: no text can become an element, every part may be absent, and the file needs nothing else."""

import base64
import hashlib
import json
import os
import re
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import plotly.graph_objects as go
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubtune import report
from hubtune.errors import RunError
from hubtune.report import page as page_module

PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "</style><svg onload=alert(1)>",
    "\"><a href='javascript:alert(1)'>x</a>",
    "' onmouseover='alert(1)",
    "<!-- <script> ]]>",
    "{{ 7 * 7 }} {% raw %}",
    "<b>bold</b><br>&lt;i&gt; %{x} $x^2$",
    "\x00\x1b[31m\ud800\u202e",
]
KEEP = {"format", "kind", "image"}  # they choose what is drawn: replacing them would only hide sections


class Elements(HTMLParser):
    """All elements with their attributes, the text, and the contents of scripts."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._script = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def kinds(self) -> set[tuple[str, str]]:
        return {(tag, attribute) for tag, attributes in self.elements for attribute in ["", *attributes]}

    @property
    def figures(self) -> list[dict]:
        found = [json.loads(script) for script in self.scripts if script.startswith("{")]
        return [view for spec in found for view in spec["views"]]


def rendered(record: dict, folder: Path) -> Elements:
    """A page without plotly's five megabytes."""
    with patch.object(page_module, "get_plotlyjs", return_value="'plotly'"):
        return Elements(report.render(record, folder))


def replaced(value, texts: list[str], key: str = ""):
    """The value with every text in it, and every free key, replaced by the next of the texts."""
    if isinstance(value, dict):
        free, new = key in {"environment", "config", "scores", "sizes"}, {}
        for place, (k, v) in enumerate(value.items()):
            place %= len(texts)
            new[texts[place] if free else k] = replaced(v, texts[place:] + texts[:place], k)
        return new
    if isinstance(value, list):
        return [replaced(item, texts[place % len(texts) :] + texts[: place % len(texts)], key) for place, item in enumerate(value)]
    return texts[0] if isinstance(value, str) and key not in KEEP else value


def strings(value):
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@pytest.fixture(scope="module")
def small(make_record, make_run, tmp_path_factory):
    """A run with every part, as small as can be."""
    record = make_record(classes=3, models=5, wrong=2)
    record["history"] = [row | {"other_loss": 0.5} for row in record["history"][:3]]
    record["histories"] = {key: rows[:3] for key, rows in record["histories"].items()}
    return record, make_run(tmp_path_factory.mktemp("runs") / "a run's <folder>", record)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(texts=PAYLOADS)
@given(texts=st.lists(st.text(max_size=40) | st.sampled_from(PAYLOADS), min_size=1, max_size=7))
def test_no_text_becomes_an_element(small, texts):
    record, folder = small
    clean, evil = rendered(record, folder), rendered(replaced(record, texts), folder)
    assert evil.kinds <= clean.kinds | {("code", ""), ("pre", "")}
    for _, attributes in evil.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert re.fullmatch(r"#[a-z]+|record\.json|data:,|", attributes.get("href") or "")
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
    assert evil.scripts[-2:] == clean.scripts[-2:]
    for figure in evil.figures:
        shown = [text for trace in figure["data"] for key, value in trace.items() if key != "hovertemplate" for text in strings(value)]
        assert not any("<" in text for text in [*shown, *strings(figure["layout"])])


def test_all_text_is_shown_as_it_was_written(small):
    record, folder = small
    name = "<script>alert(1)</script> & </b> {{ x }}"
    record = deepcopy(record)
    record["task"]["class_names"][0] = record["search"]["rows"][1]["name"] = record["warnings"][0] = name
    page = rendered(record, folder)
    assert page.text.count(name) >= 4
    shown = [text for figure in page.figures for trace in figure["data"] for text in strings(trace.get("customdata", []))]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;/b&gt; {{ x }}" in shown


def test_figures_are_what_plotly_understands(small):
    for figure in rendered(*small).figures:
        plain = json.loads(re.sub(r"var\(--[a-z-]+\)", "#123456", json.dumps(figure)))
        go.Figure(data=plain["data"], layout=plain["layout"])


def test_sections_follow_what_the_record_holds(small):
    record, folder = small
    everything = ["result", "ranking", "trainings", "curves", "confusion", "wrong", "use", "reproduce"]
    without = {"search": "ranking", "cells": "trainings", "confusion": "confusion", "wrong": "wrong", "model": "use"}

    def keys(record):
        return [attributes["id"] for tag, attributes in rendered(record, folder).elements if tag == "section"]

    assert keys(record) == everything
    for part, section in without.items():
        for absent in ({k: v for k, v in record.items() if k != part}, record | {part: None}):
            assert keys(absent) == [key for key in everything if key != section]
    assert "curves" not in keys({k: v for k, v in record.items() if k not in ("history", "histories")})
    assert keys({"format": 1}) == ["result", "reproduce"]
    assert keys(record | {"kind": "a kind of tomorrow", "routing": [1, 2]}) == everything


def test_the_ranking_tells_what_to_expect(make_record, tmp_path):
    text = rendered(make_record(), tmp_path).text
    assert "expected to fall 1.2% short of the hub's best model" in text
    assert "Predicted accuracy (90% interval)" in text
    without = make_record()
    for row in without["search"]["rows"]:
        row["predicted"] = row["low"] = row["high"] = None
    assert "Predicted accuracy" not in rendered(without, tmp_path).text


def test_a_part_may_lack_any_of_its_keys(small):
    record, folder = small
    for part, values in record.items():
        for key in values if isinstance(values, dict) else []:
            rendered(record | {part: {k: v for k, v in values.items() if k != key}}, folder)
    rows = record["search"]["rows"]
    for bare in ([{"name": row["name"]} for row in rows], [{k: v for k, v in row.items() if k != "card"} for row in rows]):
        rendered(record | {"search": record["search"] | {"rows": bare}}, folder)


def test_not_a_number_is_absent(small):
    record, folder = small
    record = deepcopy(record)
    record["metrics"] |= {"test_accuracy": float("nan"), "test_loss": float("inf")}
    record["history"][1]["train_loss"] = float("nan")
    record["search"]["rows"][0]["score"] = float("-inf")
    page = rendered(record, folder)
    assert not re.search(r"\b(nan|inf)\b", page.text, re.IGNORECASE)


def test_a_damaged_record_names_all_that_is_wrong(small):
    record, folder = small
    damaged = record | {"cells": "none", "confusion": [[1, 2], [3]], "metrics": {"test_accuracy": "good"}}
    with pytest.raises(RunError, match=r"(?s)cells.*metrics.test_accuracy: .*given 'good'.*confusion.*square table.*again"):
        report.render(damaged, folder)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "not a run"), ("{", "cannot be read"), ("[]", "format 1"), ('{"format": 2}', "format 1")]
)
def test_a_folder_that_is_no_run(tmp_path, content, said):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(RunError, match=said):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_written_page_needs_nothing_else(small):
    _, folder = small
    path = report.write(folder)
    assert path == folder / "report.html"
    assert not [name for name in os.listdir(folder) if name.startswith(".report")]
    text = path.read_text(encoding="utf-8")
    page = Elements(text)
    assert not [attributes for tag, attributes in page.elements if tag in ("script", "link", "iframe", "object") and "src" in attributes]
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    for script in page.scripts[-2:]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert len(text) < len(page.scripts[-2]) + 300_000
    assert report.write(folder).read_text(encoding="utf-8") == text


def test_the_code_names_the_folder_that_the_run_will_have(small, tmp_path):
    record, folder = small
    page = rendered(record, folder)
    assert f"ht.load({str(folder)!r})" in page.text
    report.write(folder, home=tmp_path / "later")
    text = Elements((folder / "report.html").read_text(encoding="utf-8")).text
    assert f"ht.load({str(tmp_path / 'later')!r})" in text
    assert str(folder) not in text


def test_a_page_without_charts_carries_no_plotly(tmp_path):
    assert len(report.render({"format": 1}, tmp_path)) < 40_000


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "wrong/none.png", "wrong/text.png", "wrong", "", "\x00"])
def test_images_outside_the_run_or_unreadable_are_left_out(make_record, make_run, tmp_path, name):
    record = make_record(classes=3, models=1, wrong=1)
    folder = make_run(tmp_path / "run", record)
    (folder / "wrong" / "00.png").rename(tmp_path / "secret.png")
    (folder / "wrong" / "text.png").write_text("no image")
    record["wrong"][0]["image"] = name
    page = rendered(record, folder)
    assert not any(tag == "img" for tag, _ in page.elements)
    assert "image not kept" in page.text


def test_large_images_become_thumbnails_and_small_ones_keep_their_pixels(make_record, make_run, tmp_path):
    record = make_record(classes=3, models=1, wrong=1)
    for side, small in ((8, True), (900, False)):
        page = rendered(record, make_run(tmp_path / str(side), record, side=side))
        image = next(attributes for tag, attributes in page.elements if tag == "img")
        assert (image.get("class") == "small") == small
        assert len(image["src"]) < 80_000


@pytest.mark.parametrize("classes", [2, 102])
def test_confusion_tables_agree_with_the_counts(make_record, tmp_path, classes):
    record = make_record(classes=classes, models=1, wrong=0)
    figure = next(view for view in rendered(record, tmp_path).figures if view["data"][0]["type"] == "heatmap")
    shown = sum(int(text) for trace in figure["data"] for row in trace["text"] for text in row if text)
    assert shown == sum(map(sum, record["confusion"]))
    assert figure["layout"]["xaxis"]["ticktext"] == figure["layout"]["yaxis"]["ticktext"]


def test_a_perfect_and_a_hopeless_model_have_a_confusion_matrix_too(tmp_path):
    for table in ([[5, 0], [0, 5]], [[0, 5], [5, 0]], [[3, 0], [0, 0]]):
        figures = rendered({"format": 1, "confusion": table}, tmp_path).figures
        assert len(figures) == 1
        assert len(figures[0]["data"]) == 1


def test_curves_are_thinned_but_keep_their_ends(tmp_path):
    history = [{"step": step, "train_loss": 1 / (1 + step)} for step in range(5001)]
    (figure,) = rendered({"format": 1, "history": history}, tmp_path).figures
    (trace,) = figure["data"]
    assert trace["x"][0] == 0
    assert trace["x"][-1] == 5000
    assert len(trace["x"]) <= 302


def test_the_command_is_made_where_the_run_came_from_python(small):
    record, folder = small
    assert "hubtune tune demo:digits --hub demo --where 'params < 5e6'" in rendered(record, folder).text
    given = deepcopy(record)
    given["request"]["command"] = "hubtune tune DATA --seed 7"
    assert "hubtune tune DATA --seed 7" in rendered(given, folder).text
