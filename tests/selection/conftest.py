"""Searches on tiny tasks."""

import inspect

import pytest

import hubtune


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    """Nothing here depends on how long linear classifiers train."""
    for function in (hubtune.proxies.linear_accuracy, hubtune.proxies.linear_probe):
        monkeypatch.setitem(inspect.unwrap(function).__kwdefaults__, "steps", 30)
