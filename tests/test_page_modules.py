"""The page's modules: a room each, and their doors open one way."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support import ROOT

PAGE = ROOT / "prsp-viewer.html"
FOLDER = ROOT / "page"
MODULES = sorted(FOLDER.glob("*.js"))


def imports(script: str) -> dict[str, set[str]]:
    """The modules that a script imports, and which of their names."""
    found = re.findall(r'^ *import \{ ([\w, ]+) \} from "(.+)";$', script, re.MULTILINE)
    assert len(found) == len(re.findall(r"^ *import\b", script, re.MULTILINE)), "an import in another form"
    return {module: set(names.split(", ")) for names, module in found}


def exports(module: Path) -> set[str]:
    declared = r"^export (?:async )?(?:function|class|const) (\w+)"
    names = set(re.findall(declared, module.read_text(), re.MULTILINE))
    assert len(names) == len(re.findall(r"^export\b", module.read_text(), re.MULTILINE)), module.name
    return names


@pytest.mark.parametrize("file", [*MODULES, *FOLDER.glob("*.css")], ids=lambda file: file.name)
def test_a_file_of_the_page_begins_with_what_it_owns(file: Path) -> None:
    assert re.match(r"(//|/\*) Owns .+\.( \*/)?\n", file.read_text())


def test_the_pages_files_are_all_that_the_server_gives_out() -> None:
    others = [file.name for file in FOLDER.iterdir() if not re.fullmatch(r"[a-z_-]+\.(js|css)", file.name)]
    assert others == []


def test_modules_import_one_way() -> None:
    graph = {module.name: {name[2:] for name in imports(module.read_text())} for module in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_what_is_exported_is_imported_elsewhere_and_the_other_way_round() -> None:
    page = {name.replace("./page/", "./"): names for name, names in imports(PAGE.read_text()).items()}
    wanted: dict[str, set[str]] = {}
    for module, names in [
        *page.items(),
        *(pair for file in MODULES for pair in imports(file.read_text()).items()),
    ]:
        wanted.setdefault(module, set()).update(names)
    offered = {f"./{module.name}": exports(module) for module in MODULES}
    assert wanted == {module: names for module, names in offered.items() if names}


def test_modules_share_no_loose_state() -> None:
    """What changes belongs to an object that somebody was given."""
    for module in MODULES:
        assert re.findall(r"^(?:export )?(?:let|var)\b.*", module.read_text(), re.MULTILINE) == [], (
            module.name
        )


def test_addresses_in_the_page_are_relative_to_it() -> None:
    text = PAGE.read_text()
    addresses = [*re.findall(r'(?:src|href)="([^"]*)"', text), *imports(text)]
    assert addresses
    assert [address for address in addresses if not re.match(r"(\./)?page/[a-z_-]+\.|data:,$", address)] == []
