import json
import math
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hubtune.errors import ConfigurationError, RunError
from hubtune.runs import cache_folder, list_runs, lock, read_record, run_name, run_target, runs_folder, write_atomically, write_record


def test_a_record_comes_back_as_json_values(tmp_path):
    write_record(tmp_path, {"kind": "tune", "metrics": {"a": math.nan, "b": 0.5}, "sizes": (1, 2)})
    record = read_record(tmp_path)
    assert record["metrics"] == {"a": None, "b": 0.5}
    assert record["sizes"] == [1, 2]


def test_a_run_replaces_runs_alone(tmp_path):
    assert run_target(tmp_path) == tmp_path
    write_record(tmp_path, {})
    (tmp_path / "more").write_text("of the run")
    assert run_target(tmp_path) == tmp_path
    other = tmp_path / "thesis"
    other.mkdir()
    assert run_target(other) == other
    (other / "chapter.txt").write_text("years of work")
    for taken in (other, other / "chapter.txt"):
        with pytest.raises(ConfigurationError, match="holds something else; expected a new or empty folder"):
            run_target(taken)
    assert run_target(tmp_path / "new") == tmp_path / "new"


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"to the current folder, .*; expected another one, such as .*/run"):
        run_target(".")
    assert run_target("new") == tmp_path / "new"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run_target(tmp_path / "file" / "run")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run_target(tmp_path / ("x" * 250))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_is_short_and_changes_with_what_was_asked():
    first, second = run_name("café au lait/" * 40, "tune", ["a"]), run_name("café au lait/" * 40, "tune", ["b"])
    assert first != second
    assert "/" not in first
    assert len(run_name("顔" * 400, "hub-pathway", []).encode()) < 200  # with room for what stands around it meanwhile


def test_two_writers_of_one_folder_do_not_meet(tmp_path):
    def write(text: str) -> None:
        for _ in range(40):
            with write_atomically(tmp_path / "run") as folder:
                (folder / text).write_text(text)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_what_was_there_stays_where_the_new_one_cannot_come(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("old")
    real = os.rename

    def rename(source, target):
        if Path(target).name == "run" and Path(source).name != "old":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(RunError, match="No space left"), write_atomically(tmp_path / "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run" / "old").read_text() == "old"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "run"

    def fail():
        with write_atomically(target) as folder:
            (folder / "a").write_text("1")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert not target.exists()
    assert list(tmp_path.iterdir()) == []


def test_an_older_folder_is_replaced(tmp_path):
    target = tmp_path / "run"
    for text in ("old", "new"):
        with write_atomically(target) as folder:
            (folder / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("content", "message"), [(None, "holds no record.json"), ("{", "cannot be read"), ('{"format": 99}', "format 1")])
def test_what_is_not_a_run_is_said(tmp_path, content, message):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(RunError, match=message):
        read_record(tmp_path)


def test_folders_follow_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path / "r"))
    monkeypatch.setenv("HUBTUNE_CACHE", str(tmp_path / "c"))
    assert runs_folder() == tmp_path / "r"
    assert cache_folder() == tmp_path / "c"


def test_a_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path / "file" / "r"))
    with pytest.raises(RunError, match="HUBTUNE_RUNS"):
        runs_folder()


def test_runs_are_listed_newest_first_and_damaged_ones_left_out(tmp_path):
    for name, created in (("a", "2026-01-01"), ("b", "2026-02-01")):
        (tmp_path / name).mkdir()
        write_record(tmp_path / name, {"created": created, "chosen": {"method": "fine-tune", "models": ["m"]}, "task": {"name": "t"}})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "record.json").write_text(json.dumps([]))
    (tmp_path / ".d.left.behind").mkdir()
    write_record(tmp_path / ".d.left.behind", {"created": "2026-03-01"})
    (tmp_path / "e").mkdir()
    write_record(tmp_path / "e", {"created": "2025-01-01", "task": None, "metrics": None})
    assert [row["name"] for row in list_runs(tmp_path)] == ["b", "a", "e"]


def test_a_comparison_is_listed_with_its_methods_and_models(tmp_path):
    (tmp_path / "a").mkdir()
    write_record(tmp_path / "a", {"request": {"methods": ["ensemble", "distill"]}, "comparison": {"models": ["m", "n"]}})
    [row] = list_runs(tmp_path)
    assert (row["method"], row["models"]) == ("ensemble, distill", ["m", "n"])


def _hold(folder, seconds, order):
    with lock(folder):
        order.put("first in")
        time.sleep(seconds)
        order.put("first out")


def test_a_lock_keeps_others_out_until_its_process_ends(tmp_path):
    context = multiprocessing.get_context("fork")
    order = context.Queue()
    process = context.Process(target=_hold, args=(tmp_path, 0.3, order))
    process.start()
    assert order.get(timeout=10) == "first in"
    with lock(tmp_path):
        assert order.get(timeout=10) == "first out"
    process.join()
