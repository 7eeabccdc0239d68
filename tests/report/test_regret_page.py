"""The page and the tables of a regret study: they show its numbers, and text from the table stays text."""

import json
from html.parser import HTMLParser
from unittest.mock import patch

import pytest
from rich.console import Console

import hubtune
from hubtune.errors import RunError
from hubtune.report import page, regret_tables, write_regret
from hubtune.report.regret_page import render_regret

EVIL = "<img src=x onerror=alert(1)>"


def made_study(models=("a", "b", "c"), tasks=("t", "u"), proxies=("linear", "knn"), **options):
    rows = [
        {"model": model, "task": task, "accuracy": (3 * i + 5 * j) % 7 / 10, "upstream_images": i}
        | {proxy: (2 * i + j + k) % 5 for k, proxy in enumerate(proxies)}
        for i, model in enumerate(models)
        for j, task in enumerate(tasks)
    ]
    return hubtune.regret(rows, **options).to_dict()


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)
        self.text += data

    @property
    def charts(self):
        return [json.loads(script) for script in self.scripts if script.strip().startswith("{")]


@pytest.fixture(autouse=True)
def _without_plotly():
    with patch.object(page, "get_plotlyjs", return_value="'plotly'"):
        yield


def test_the_page_has_every_figure_and_number():
    study = made_study(pools=["pool:All", "small=upstream_images < 2"], budget=2)
    found = Elements(render_regret(study))
    assert len(found.charts) == 9 * 2
    assert all(len(chart["views"]) == 2 for chart in found.charts)  # one for each proxy
    for row in study["means"]:
        assert f"{100 * row['relative']:.1f}%" in found.text
    # Figure 7: the lines are the study's means.
    lines = {trace["name"]: trace["y"] for trace in found.charts[2]["views"][0]["data"]}
    for name in ("linear", "hybrid-linear", "task-agnostic", "oracle", "oracle-held-out", "random"):
        assert lines[name] == [row["optimal"] for row in study["means"] if (row["pool"], row["strategy"]) == ("All", name)]


def test_scores_are_drawn_against_the_number_of_features():
    study = made_study()
    study["dimensions"] = [
        {"pool": "All", "task": task, "model": model, "feature_dim": width, "accuracy": width / 4, "linear": width, "knn": 2 - width}
        for task in "tu"
        for model, width in (("a", 1), ("b", 3))
    ]
    accuracy, score = Elements(render_regret(study)).charts[-1]["views"][1]["data"]
    assert accuracy["x"] == pytest.approx([1, 3, 1, 3], rel=0.02)
    assert score["x"] == pytest.approx([1, 3, 1, 3], rel=0.02)
    assert accuracy["y"] == pytest.approx([-1, 1, -1, 1])
    assert score["y"] == pytest.approx([1, -1, 1, -1])
    assert [row[2:] for row in score["customdata"]] == [[1, 1], [-1, 3], [1, 1], [-1, 3]]


def test_figures_that_the_table_does_not_allow_are_left_out():
    assert len(Elements(render_regret(made_study(proxies=()))).charts) == 3 + 1
    assert len(Elements(render_regret(made_study(budget=1))).charts) == 9 - 1  # a hybrid takes two
    assert len(Elements(render_regret(made_study(proxies=("linear",)))).charts) == 9 - 1  # no other proxy


def test_log_odds_take_the_place_of_relative_regret():
    text = Elements(render_regret(made_study(log_odds=True))).text
    assert "nats" in text
    assert "relative regret over the tasks" not in text


def test_text_from_the_table_stays_text():
    usual = Elements(render_regret(made_study(("a", "b", "c"), ("t", "u"), ("linear", "knn"))))
    evil = Elements(render_regret(made_study((EVIL, "b", "</script>"), (EVIL, "{{ 1 }}"), ("linear", EVIL))))
    assert evil.tags == usual.tags
    assert EVIL in evil.text
    assert EVIL not in json.dumps([chart["views"] for chart in evil.charts])  # plotly reads tags in labels


def test_a_page_is_written_whole_or_an_error_says_why(tmp_path):
    study = made_study()
    path = write_regret(study, tmp_path / "regret.html", "0.1.0")
    assert path.read_text() == render_regret(study, "0.1.0")
    assert [entry.name for entry in tmp_path.iterdir()] == ["regret.html"]
    with pytest.raises(RunError, match="cannot be written"):
        write_regret(study, tmp_path / "nowhere" / "regret.html")


def test_tables_for_the_terminal_fit_and_show_the_numbers():
    study = made_study(budget=3)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(regret_tables(study, by_task=True))
    console.file.close()
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for row in study["rows"]:
        assert f"{100 * row['absolute']:.1f}/{100 * row['relative']:.1f}%" in text
    assert text.index("Task t:") < text.index("Task u:")
