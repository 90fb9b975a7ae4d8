"""How the code looks is part of what is promised: ruff for Python, shellcheck for the shell."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from support import ROOT, python

SHELL_SCRIPTS = sorted([*ROOT.glob("*.sh"), *ROOT.glob("*/*.sh"), ROOT / ".ci" / "run"])


def run(*command: str | os.PathLike[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_passes_ruff() -> None:
    run(*python("-m", "ruff", "check"))


def test_python_is_formatted() -> None:
    run(*python("-m", "ruff", "format", "--check"))


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda script: script.relative_to(ROOT).as_posix())
def test_shell_passes_shellcheck(script: Path) -> None:
    run(Path(sysconfig.get_path("scripts")) / "shellcheck", script)


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda script: script.relative_to(ROOT).as_posix())
def test_shell_is_written_for_any_posix_shell(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\n")
