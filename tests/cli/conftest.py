"""Commands as they are typed, in this process."""

import sys

import pytest

from hubtune.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Type a command and its words; what it printed. It must end with the exit code that is expected."""

    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["hubtune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert (ended.value.code or 0) == code, captured.err
        return captured

    return call
