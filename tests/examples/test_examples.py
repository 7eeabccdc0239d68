import importlib.util
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs_and_scores_above_chance(path, capsys):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    accuracy = float(capsys.readouterr().out.split("test accuracy ")[1].split()[0].rstrip(","))
    assert accuracy > 0.15


def test_there_are_examples():
    assert EXAMPLES
