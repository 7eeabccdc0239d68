"""The sections of policies that play."""

from pathlib import Path

import pytest

from hubtune.errors import RunError
from hubtune.report.page import render
from hubtune.report.play import LARGEST_VIDEO, video

BAND = '"fill":"toself"'  # of the spread over the seeds


def record(**group):
    curve = {"steps": [10, 20], "curve": [1.0, 2.0], "curve_spread": [0.5, 0.25]}
    groups = [{"label": "<b>hub</b>", "seeds": [0, 1], "scores": [1.0, 3.0], "mean": 2.0, "spread": 1.0, **curve, **group}]
    play = {"groups": groups, "episodes": [{"score": 7.5, "steps": 12, "cut": True}], "actions": ["<i>UP</i>"], "video": "episode.gif"}
    return {"kind": "policy", "task": {"name": "Room", "kind": "game"}, "play": play}


def test_curves_scores_and_names_are_on_the_page_escaped(tmp_path):
    (tmp_path / "episode.gif").write_bytes(b"GIF89a and so on")
    page = render(record(), tmp_path)
    assert "data:image/gif;base64," in page
    assert "&lt;b&gt;hub&lt;/b&gt;" in page
    assert "&lt;i&gt;UP&lt;/i&gt;" in page
    assert "<b>hub</b>" not in page
    assert "a limit of time" in page
    assert BAND in page
    assert BAND not in render(record(seeds=[0], scores=[1.0]), tmp_path)


def test_a_page_without_a_video_says_the_rest(tmp_path):
    page = render(record(), tmp_path)
    assert "data:image/gif" not in page
    assert "7.500" in page


def test_only_animations_of_the_runs_own_folder_are_shown(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "outside.gif").write_bytes(b"GIF89a")
    (tmp_path / "run" / "text.gif").write_bytes(b"<script>")
    with (tmp_path / "run" / "large.gif").open("wb") as file:
        file.write(b"GIF89a")
        file.truncate(LARGEST_VIDEO + 1)
    for name in ("../outside.gif", str(tmp_path / "outside.gif"), "text.gif", "large.gif", "missing.gif", None):
        assert video(Path(tmp_path / "run"), name) is None


def test_a_curve_of_unequal_parts_is_damage(tmp_path):
    with pytest.raises(RunError, match="of one curve"):
        render(record(curve=[1.0]), tmp_path)
