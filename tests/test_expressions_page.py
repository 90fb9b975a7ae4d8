"""docs/expressions.md lists what a viewer may compute, as it is, with examples that are computed."""

import re

import perspective
import pytest
from fuzzing import SCHEMA
from support import ROOT

from tdengine_perspective.gate import describe
from tdengine_perspective.gate.expressions import (
    FUNCTIONS,
    MATHEMATICS,
    MATHEMATICS_OF_FLOATS,
    Reader,
    check,
)

PAGE = ROOT / "docs" / "expressions.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == describe.page() + "\n", (
        "run `python -m tdengine_perspective.gate.describe > docs/expressions.md`"
    )


def test_each_function_is_described() -> None:
    assert {*describe.EXAMPLES, *MATHEMATICS, *MATHEMATICS_OF_FLOATS} == FUNCTIONS.keys()
    for name in FUNCTIONS:
        assert f"`{name}" in PAGE.read_text()


def examples() -> list[str]:
    """What stands in the page's tables as an expression of the meters' columns."""
    text = PAGE.read_text().replace("\\|", "|")
    found = re.findall(r"`([^`\n]*\"(?:current|timestamp|location|groupid)\"[^`\n]*)`", text)
    return [example for example in dict.fromkeys(found) if not example.startswith("x ")]


@pytest.mark.parametrize("text", [*examples(), *(example for _, example in describe.EXAMPLES.values())])
def test_an_example_is_computed(text: str) -> None:
    check(text, SCHEMA)
    table = perspective.Server().new_local_client().table(SCHEMA)
    table.update(
        {
            "timestamp": [0],
            "location": ["San Jose"],
            "groupid": [6],
            "current": [7.5],
            "voltage": [210],
            "phase": [0.5],
        }
    )
    view = table.view(expressions={"e": text}, columns=["e"])
    assert view.expression_schema() == {"e": Reader(text, SCHEMA).read()}
    if not text.startswith("search"):
        assert view.to_columns()["e"] != [None]
