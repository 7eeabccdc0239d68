"""One contract for every engine: the same answers, whoever computes them and whatever becomes of the workers."""

import subprocess
import sys
from functools import partial

import pytest

from hubtune.engines import OneProcess, RayCluster, SideBySide, engine_named
from hubtune.errors import ConfigurationError, EngineError, MissingExtraError, UnknownNameError


def test_every_job_is_answered_once(engine, jobs):
    answers = dict(engine.do(partial(jobs.fraction, denominator=3), [5, 6, 7]))
    assert answers == {0: 5 / 3, 1: 2.0, 2: 7 / 3}
