"""What the terminal shows, and the card of a deployed model."""

import html
import io
import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hubtune import report
from hubtune.errors import RunError
from hubtune.report import section
from hubtune.report.headline import _search_sentence
from hubtune.report.record import parse


def shown(renderable, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def front_matter(card: str) -> dict:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_summary_shows_ranking_choice_accuracy_and_report(make_record):
    record = make_record(models=30)
    text = shown(report.summary(record, Path("runs/a/report.html")))
    for name in record["search"]["picks"]:
        assert re.search(rf"{name} .*picked", text)
    assert "and 10 more" in text
    assert "fine-tune on" in text
    assert re.search(r"test accuracy +\d\d\.\d% \(95% interval \d\d\.\d% to \d\d\.\d%\)", text)
    assert "runs/a/report.html" in text
    assert all(warning in text for warning in record["warnings"])


def test_summary_of_nothing_is_empty():
    assert shown(report.summary({"format": 1})).strip() == ""


def test_tables_keep_the_order_of_the_ranks(make_record):
    rows = make_record(models=3)["search"]["rows"]
    for row, rank in zip(rows, (2, 1, 3), strict=True):
        row["rank"] = rank
    names = [line.split()[1] for line in shown(report.search_table(rows)).splitlines()[1:]]
    assert names == [rows[1]["name"], rows[0]["name"], rows[2]["name"]]


def test_a_predicted_accuracy_comes_with_its_interval_where_there_is_one():
    rows = [{"name": "a", "score": 1.0, "predicted": 0.756, "low": 0.5, "high": 0.912}, {"name": "b", "score": 0.5}]
    assert "76% (50 to 91)" in shown(report.search_table(rows), width=140)
    assert "predicted" not in shown(report.search_table(rows[1:]), width=140)


def test_search_table_puts_failures_last_and_keeps_names_whole(make_record):
    rows = make_record(models=5)["search"]["rows"]
    text = shown(report.search_table(rows), width=140)
    scores = [float(line.split()[2]) for line in text.splitlines()[1:5]]
    assert scores == sorted(scores, reverse=True)
    assert text.splitlines()[5].split()[-1] == "failed"
    late = [row | {"late": bool(row["error"])} for row in rows]
    assert "no time left" in shown(report.search_table(late), width=140).splitlines()[5]
    assert all(row["name"] in shown(report.search_table(rows), width=50) for row in rows)
    with pytest.raises(RunError, match=r"rows\.0\.name"):
        report.search_table([{"score": 1.0}])


def test_names_are_neither_markup_nor_control_codes(make_record):
    record = make_record(models=2)
    record["search"]["rows"][0]["name"] = "[bold red]x[/] \x1b[31m"
    text = shown(report.summary(record))
    assert "[bold red]x[/]" in text
    assert "\x1b" not in text


def test_model_card_says_what_it_must(make_record):
    record = make_record(models=6)
    record["search"]["rows"][-1]["card"]["license"] = None
    card = report.model_card(record)
    assert front_matter(card) == {
        "license": "apache-2.0",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["hubtune", "image-classification", "timm", "transfer-learning"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": "digits",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": "digits", "type": "demo:digits", "split": "test"},
                        "metrics": [{"type": "accuracy", "value": record["metrics"]["test_accuracy"]}],
                    }
                ],
            }
        ],
    }
    for words in ("# digits", "fine-tune", "360 test", "95% interval", "Licence of the source models", "local-dir:", "create_model"):
        assert words in card


def test_model_card_of_many_licences_and_of_none(make_record):
    record = make_record(models=6)
    rows = record["search"]["rows"]
    record["chosen"]["models"] = [rows[0]["name"], rows[1]["name"]]
    rows[0]["card"]["license"], rows[1]["card"]["license"] = "MIT", "Apache-2.0"
    record["model"]["format"] = "hubtune"
    card = report.model_card(record)
    assert front_matter(card)["license"] == "other"
    assert front_matter(card)["library_name"] == "hubtune"
    assert "ht.load(" in card
    assert "create_model" not in card
    rows[0]["card"]["license"] = record["model"]["license"] = None
    assert "unknown; ask its publisher" in report.model_card(record)
    assert front_matter(report.model_card({"format": 1}))["license"] == "unknown"


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=40) | st.sampled_from(["---\nlicense: mit", "a: [b", "'\"#", "` <script>", "\x85\u2028\ufeff"]))
def test_no_name_breaks_the_front_matter_or_the_markdown(make_record, text):
    record = deepcopy(make_record(classes=3, models=2))
    record["task"] |= {"name": text, "source": f"hf:{text}", "class_names": [text, "b", "c"], "fingerprint": text}
    record["chosen"] = {"method": text, "models": [text], "config": {text: text}}
    record["search"]["rows"][0] |= {"name": text}
    record["search"]["rows"][0]["card"]["license"] = text
    card = report.model_card(record)
    plain = front_matter(report.model_card(make_record(classes=3, models=2)))
    assert front_matter(card).keys() == plain.keys() | {"datasets"}
    body = card.split("---\n", 2)[2].split("## How to use")[0]
    prose = re.sub(r"`[^`\n]*`", "", body)
    assert not re.search(r"(?<!\\)<", prose)
    assert body.count("\n## ") == 3


@pytest.mark.parametrize(
    ("function", "given_", "expected"),
    [
        (section.duration, 0.0123, "12 ms"),
        (section.duration, 59.97, "1 min 00 s"),
        (section.duration, 245, "4 min 05 s"),
        (section.duration, 7980, "2 h 13 min"),
        (section.count, 999, "999"),
        (section.count, 999_700, "1.00 M"),
        (section.count, 11_689_512, "11.7 M"),
        (section.count, 100e9, "100 G"),
        (section.percent, 0.9641, "96.4%"),
        (section.percent, None, section.DASH),
        (section.score, -0.12345, "-0.1235"),
        (section.score, 12345.6, "12346"),
        (section.moment, "2026-02-03T14:05:00+02:00", "03 February 2026, 12:05 UTC"),
        (section.moment, "yesterday", "yesterday"),
        (section.label, "a < b & c", "a &lt; b &amp; c"),
    ],
)
def test_numbers_and_names_as_written(function, given_, expected):
    assert function(given_) == expected


@given(text=st.text(), limit=st.integers(4, 40))
def test_labels_are_short_and_hold_no_tag(text, limit):
    label = section.label(text, limit)
    assert len(label) <= 5 * limit
    assert html.unescape(label) == " ".join(text.split()) or len(text) > limit or "&" in text
    assert "<" not in label


def test_acronyms_keep_their_capitals_within_a_sentence():
    phrases = {name: section.metric_phrase(name) for name in ("test_accuracy", "test_nme", "test_macro_f1", "test_closeness", "loss")}
    assert phrases == {
        "test_accuracy": "test accuracy",
        "test_nme": "NME on test",
        "test_macro_f1": "macro F1 on test",
        "test_closeness": "1 \N{MINUS SIGN} NME on test",
        "loss": "loss",
    }


def test_a_sentence_tells_models_that_failed_from_those_there_was_no_time_for(make_record):
    record = make_record(models=5)
    [failed] = [row for row in record["search"]["rows"] if row["error"]]
    assert (sentence := _search_sentence(parse(record))) is not None
    assert sentence.endswith("; 1 could not be scored.")
    failed["late"] = True
    assert (sentence := _search_sentence(parse(record))) is not None
    assert sentence.endswith("; there was no time left for 1.")
