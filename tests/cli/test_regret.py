"""``hubtune regret`` as it is typed, in this process."""

import functools
import json

import pytest

TABLE = "model,task,seed,accuracy,linear,params,upstream_images\n" + "".join(
    f"{model},{task},{seed},{accuracy},{score},{params},{10 * params}\n"
    for model, params, rows in (
        ("a", 1, (("t", 0.5, 3), ("u", 0.7, 1))),
        ("b", 2, (("t", 0.6, 2), ("u", 0.4, 2))),
        ("c", 3, (("t", 0.4, 1), ("u", 0.5, 0))),
    )
    for task, accuracy, score in rows
    for seed in (0, 1)
)


@pytest.fixture
def regret(run, monkeypatch, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    return functools.partial(run, "regret", "table.csv")


def test_tables_json_and_a_page(regret, tmp_path):
    out = regret("--by-task").out
    assert "Pool All: 3 models, 2 tasks" in out
    assert "Task u" in out
    study = json.loads(regret("--json", "--pool", "small=params < 3", "--budget", "1", "--out", "page.html").out)
    [row] = [row for row in study["means"] if row["strategy"] == "linear"]
    assert (row["pool"], row["budget"], row["tasks"]) == ("small", 1, 2)
    assert row["absolute"] == pytest.approx((0.1 + 0.3) / 2)
    assert "Pool small" in (tmp_path / "page.html").read_text()
    assert "nats" in regret("--log-odds").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "0"), "expected a whole number from 1 to 3"),
        (("--budget", "4"), "pool 'All' has 3 models"),
        (("--scores", "knn"), "unknown column of scores 'knn'"),
        (("--pool", "flops < 3"), "no such column: flops"),
        (("--pool", "pool:Expret"), "did you mean 'Expert'"),
        (("--out", "nowhere/page.html"), "cannot be written"),
    ],
)
def test_a_mistake_ends_in_one_message_and_code_2(regret, arguments, message):
    error = regret(*arguments, code=2).err
    assert message in error
    assert "Traceback" not in error
