"""docs/emulator-sql.md lists what the emulator understands, as it is; what it links is there and says so."""

import re

import pytest
from support import ROOT

from tdengine_emulator import describe
from tdengine_emulator.expressions import FUNCTIONS

PAGE = ROOT / "docs" / "emulator-sql.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == describe.page() + "\n", (
        "run `python -m tdengine_emulator.describe > docs/emulator-sql.md`"
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_links_a_recording_or_a_test_that_uses_it(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name.upper()}` \|.*\|$", PAGE.read_text(), re.MULTILINE)
    ((text, link),) = re.findall(r"\[(.*)\]\((.*)\)", row)
    path = (PAGE.parent / link).resolve()
    assert path.is_relative_to(ROOT / "tests")
    call = re.compile(rf"\b{name}\s*\(", re.IGNORECASE)
    if path.suffix == ".jsonl":
        assert any(map(call.search, describe.recorded_statements(path)))
    else:
        assert text.split("`")[1] in {seen.test for seen in describe.tests_with(call.search)}


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]*)\)", PAGE.read_text()):
        assert (PAGE.parent / link).resolve().is_file(), link
