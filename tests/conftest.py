"""What several test files share."""

import sys

import pytest

from sim.cli import main


@pytest.fixture
def servesim(monkeypatch, capsys):
    """Run the command in this process; returns (exit status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["servesim", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run
