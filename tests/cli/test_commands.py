"""Commands as they are typed, in this process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def test_help_and_import_need_no_torch():
    code = "import sys, hubtune, hubtune.cli.main; sys.exit('torch' in sys.modules or 'timm' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_lists_every_command(run):
    text = run("--help").out
    for command in ("demo", "models", "methods", "strategies", "search", "tune", "compare", "predict", "report", "runs", "cache"):
        assert command in text


def test_search_tune_predict_report(run, task, task_file, models_folder, tmp_path):
    found = json.loads(run("search", task_file, "--hub", models_folder, "--budget", "2", "--json").out)
    assert len(found["picks"]) == 2
    assert {"name", "score", "seconds", "error"} <= set(found["rows"][0])
    options = ("--hub", models_folder, "--set", "steps=10", "--set", "learning_rates=0.01", "--workers", "1", "--out", tmp_path / "run")
    made = json.loads(run("tune", task_file, *options, "--json").out)
    assert made["path"] == str(tmp_path / "run")
    assert 0 <= made["metrics"]["test_accuracy"] <= 1
    Image.fromarray(task.test.canvas([0], None)[0].permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    [row] = json.loads(run("predict", tmp_path / "run", tmp_path / "x.png", "--json").out)
    assert row["label"] in task.class_names
    assert task.class_names[0] in run("predict", tmp_path / "run", tmp_path, "--top", "3").out
    assert run("report", tmp_path / "run").out.strip().endswith("report.html")


def test_a_comparison_and_the_paths_of_its_routed_hub(run, task, task_file, models_folder, tmp_path):
    quick = ("--set", "steps=3", "--set", "learning_rates=0.001", "--set", "hub-pathway.generator_width=8", "--workers", "1")
    options = ("--hub", models_folder, "--methods", "linear-probe,hub-pathway,soup-uniform", "--seeds", "1", "--models", "resnet-a,vit")
    made = json.loads(run("compare", task_file, *options, *quick, "--out", tmp_path / "all", "--json").out)
    rows = {row["label"]: row for row in made["rows"]}
    assert made["reference"] == "linear-probe"
    assert rows["hub-pathway"]["flops"] > 0
    assert "architectures" in rows["soup-uniform"]["error"]
    assert (tmp_path / "all" / "report.html").exists()
    shown = run("compare", task_file, *options, *quick).out
    assert "against linear-probe" in shown
    assert "soup-uniform: a soup was asked of different architectures" in " ".join(shown.split())

    Image.fromarray(task.test.canvas([0], None)[0].permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    told = run("predict", tmp_path / "all", tmp_path / "x.png", code=2).err
    best = max(("linear-probe", "hub-pathway"), key=lambda label: rows[label]["mean"]["val_accuracy"])
    assert "is a comparison, which keeps no model" in told
    assert f"hubtune tune {task_file} --method {best} --models resnet-a,vit" in told
    cell = rows["hub-pathway"]["runs"][0]["path"]
    [row] = json.loads(run("predict", cell, tmp_path / "x.png", "--json").out)
    assert set(row["path"]) == {"resnet-a", "vit"}
    assert sum(row["path"].values()) == pytest.approx(1, abs=1e-4)
    for more in ((), ("--max-resident", "1")):
        assert "  path resnet-a 0." in run("predict", cell, tmp_path / "x.png", *more).out.replace("path vit 0.", "path resnet-a 0.")


def test_files_that_cannot_be_read_are_named_and_the_others_predicted(run, task, task_file, models_folder, tmp_path):
    options = ("--hub", models_folder, "--models", "resnet-a", "--method", "linear-probe", "--workers", "1")
    made = json.loads(run("tune", task_file, *options, "--json").out)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "._good.png").write_bytes(b"of a file system")
    (photos / "torn.jpg").write_bytes(b"half of a")
    assert "no image could be read" in run("predict", made["path"], photos, code=2).err
    Image.fromarray(task.test.canvas([0], None)[0].permute(1, 2, 0).numpy()).save(photos / "good.png")
    told = run("predict", made["path"], photos, photos / "good.png", "--json")
    assert [row["image"] for row in json.loads(told.out)] == [str(photos / "good.png")]
    assert "left out" in told.err
    assert "torn.jpg" in told.err
    assert "._good" not in told.err
    [cell] = Path(os.environ["HUBTUNE_RUNS"]).glob("cells/[!.]*")
    assert run("report", cell).out.strip().endswith("report.html")


def test_models_that_cannot_be_read_are_named_and_brackets_are_letters(run, models_folder, tmp_path):
    shutil.copytree(models_folder / "resnet-a", tmp_path / "hub" / "m[ft]")
    shutil.copytree(models_folder / "resnet-a", tmp_path / "hub" / "bad")
    (tmp_path / "hub" / "bad" / "config.json").write_text("{")
    told = run("models", "--hub", tmp_path / "hub")
    assert "m[ft]" in told.out
    assert "config.json" in told.err


def test_classes_of_ones_own_are_found_beside_the_caller(run, tmp_path, monkeypatch):
    (tmp_path / "beside_me.py").write_text("import hubtune as ht\n\nclass Mine(ht.LinearProbe):\n    name = 'mine'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert "beside_me:Mine" in run("methods", "beside_me:Mine").out


def test_what_would_be_downloaded_is_not_timed(run, task_file, models_folder, monkeypatch):
    monkeypatch.setattr("hubtune.hub.Hub.download_bytes", lambda self, name: 10_000_000)
    told = run("tune", task_file, "--hub", models_folder, "--dry-run").out
    assert "10 MB" in told
    assert "unknown" in told
    assert "nan" not in told


def test_methods_and_strategies_say_what_can_be_set(run):
    assert {"fine-tune", "l2t-ww", "hub-pathway"} <= {each["name"] for each in json.loads(run("methods", "--json").out)}
    [top_k] = [field for field in json.loads(run("methods", "hub-pathway", "--json").out)["fields"] if field["name"] == "top_k"]
    assert (top_k["type"], top_k["default"]) == ("whole number", 2)
    assert "average their probabilities" in " ".join(run("methods").out.split())
    assert "frame_skip" in run("rl", "methods", "scratch").out
    assert "nothing can be set" in run("strategies", "knn").out
    assert "reduction" in run("strategies", "successive-halving").out
    assert "did you mean 'l2t-ww'" in run("methods", "l2tww", code=2).err


def test_tables_for_people(run, task_file, models_folder):
    assert "vit" in run("models", "--hub", models_folder).out
    out = run("search", task_file, "--hub", models_folder, "--budget", "2 models, 1 h").out
    assert "picks:" in out
    assert "predicted" in out
    assert "expected to fall" in out
    out = run("tune", task_file, "--hub", models_folder, "--models", "resnet-a", "--method", "linear-probe").out
    assert "report.html" in out
    assert "linear-probe" in run("runs").out
    assert "features" in run("cache").out
    assert "deleted" in run("cache", "--clear").out


def test_names_stay_whole_and_narrow_terminals_do_without_the_rest(run, models_folder, tmp_path, monkeypatch):
    name = "mobilenetv4_conv_small.e2400_r224_in1k"
    shutil.copytree(models_folder / "vit", tmp_path / "hub" / name)
    whole = run("models", "--hub", tmp_path / "hub").out
    assert name in whole
    assert "licence" in whole
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    for columns in ("20", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        narrow = run("models", "--hub", tmp_path / "hub").out
        assert name in narrow
        assert "licence" not in narrow


def test_a_cleared_cache_remembers_no_fingerprint(run, hub):
    hub.fingerprint("vit")
    assert json.loads(run("cache", "--clear", "--json").out)["fingerprints"]["files"] == 1
    assert json.loads(run("cache", "--json").out)["fingerprints"]["files"] == 0


def test_a_dry_run_estimates_and_trains_nothing(run, task_file, models_folder):
    assert "about" in run("tune", task_file, "--hub", models_folder, "--dry-run").out
    assert json.loads(run("tune", task_file, "--hub", models_folder, "--dry-run", "--json").out)["seconds"] > 0
    assert json.loads(run("runs", "--json").out) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "/nowhere", "--hub", "HUB"), "/nowhere"),
        (("search", "TASK", "--hub", "HUB", "--budget", "0"), "expected 1 to 3"),
        (("search", "TASK", "--hub", "HUB", "--budget", "9"), "expected 1 to 3"),
        (("search", "TASK", "--hub", "HUB", "--budget", "3 apples"), "2000 passes"),
        (("search", "TASK", "--hub", "HUB", "--budget", "5 passes"), "expected at least"),
        (("search", "TASK", "--hub", "HUB", "--strategy", "liner"), "did you mean"),
        (("search", "TASK", "--hub", "HUB", "--strategy", "meta-learned", "--strategy-set", "proxis=knn"), "did you mean 'proxies'"),
        (("search", "TASK", "--hub", "HUB", "--strategy", "hybrid"), "did you mean 'hybrid-linear'"),
        (("search", "TASK", "--hub", "HUB", "--strategy", "hybrid"), "`hubtune strategies` lists all"),
        (("search", "TASK", "--hub", "HUB", "--strategy-set", "proxies=none"), "was given without a strategy"),
        (("search", "TASK", "--hub", "HUB", "--strategy", "knn", "--strategy-set", "proxies=none"), "'proxies': it has no fields"),
        (("search", "TASK", "--hub", "HUB", "--past", "nowhere.csv"), "nowhere.csv"),
        (("search", "TASK", "--hub", "HUB", "--where", "1; drop table cards"), "drop table"),
        (("models", "--hub", "HUB", "--where", "params < 0"), "no model"),
        (("models", "--hub", "HUB", "--models", "resnet"), "resnet-a"),
        (("tune", "TASK", "--hub", "HUB", "--method", "fine_tune"), "did you mean 'fine-tune'"),
        (("tune", "TASK", "--hub", "HUB", "--set", "stepz=3"), "did you mean 'steps'"),
        (("tune", "TASK", "--hub", "HUB", "--set", "steps"), "NAME=VALUE"),
        (("tune", "TASK", "--hub", "HUB", "--precision", "fp4"), "precision"),
        (("tune", "TASK", "--hub", "HUB", "--method", "hub-pathway", "--set", "top_k=4"), "expected 1 to 3"),
        (("tune", "TASK", "--hub", "HUB", "--method", "hub-pathway", "--set", "top_k=0"), "top_k = 0"),
        (("compare", "TASK", "--hub", "HUB", "--methods", "finetune"), "did you mean 'fine-tune'"),
        (("compare", "TASK", "--hub", "HUB", "--set", "hub-pathwy.top_k=1"), "did you mean 'hub-pathway'"),
        (("compare", "TASK", "--hub", "HUB", "--budget", "9"), "1 to 3"),
        (("predict", "/nowhere", "x.png"), "/nowhere"),
        (("report", "/nowhere"), "/nowhere"),
    ],
)
def test_a_mistake_ends_in_one_message_and_code_2(run, task_file, models_folder, arguments, message):
    places = {"TASK": task_file, "HUB": models_folder}
    error = run(*(places.get(argument, argument) for argument in arguments), code=2).err
    assert message in error
    assert "Traceback" not in error
