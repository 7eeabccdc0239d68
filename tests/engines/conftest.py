import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def jobs(monkeypatch):
    """The module of functions, where this process and its workers can import it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("engine_jobs")
    sys.modules.pop("engine_jobs")
