"""The tables file: what it may say, and one line that names the section for what it may not."""

from pathlib import Path

import pytest

from tdengine_perspective.settings import MOST_ROWS, SettingError, Settings
from tdengine_perspective.tables import MOST_TABLES, TableSettings, read_tables

PLANT = """
[meters_values]
table = "power.meters"
limit = 60
window = "1h"

[meters_latest]
table = "meters"
rows = "latest"
history = false

[load_per_minute]
query = \"\"\"
    -- of the last hour
    (SELECT _wstart AS minute, AVG(current) AS current FROM power.meters INTERVAL(1m));
\"\"\"
key = ["minute"]
refresh_rate = 2000
"""


def read(folder: Path, text: str, **settings: object) -> list[TableSettings]:
    file = folder / "plant.toml"
    file.write_text(text, encoding="utf-8")
    return read_tables(Settings(perspective_tables=str(file), **settings))


def test_each_section_is_a_table_with_settings_of_its_own(tmp_path: Path) -> None:
    values, latest, load = read(tmp_path, PLANT, taos_database="plant", perspective_refresh_rate=500)
    assert (values.perspective_table_name, values.rows, values.table) == (
        "meters_values",
        "newest",
        "power.meters",
    )
    assert (values.perspective_limit, values.perspective_window) == (60, "1h")
    assert values.perspective_refresh_rate == 500
    assert (latest.rows, latest.table, latest.history) == ("latest", "plant.meters", False)
    assert latest.perspective_limit == MOST_ROWS
    assert (load.rows, load.key, load.perspective_refresh_rate) == ("query", ("minute",), 2000)
    assert load.query.endswith("INTERVAL(1m))")


def test_without_a_file_there_is_the_table_of_the_environment() -> None:
    [table] = read_tables(Settings(taos_tablename="weather", perspective_limit=5))
    assert (table.table, table.rows, table.perspective_limit) == ("power.weather", "newest", 5)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("", "must have either a table or a query"),
        ("table = 'a.b'\nquery = 'SELECT 1'", "must have either a table or a query"),
        ("table = 'a.b.c'", "must be a database and a table"),
        ("table = 'a.'", "must be a database and a table"),
        ("table = ''", "table must be text"),
        ("table = 3", "table must be text"),
        ("table = 'a.b'\nrow = 'latest'", "has row; there are table, query, rows"),
        ("table = 'a.b'\nrows = 'oldest'", 'rows must be "newest" or "latest"'),
        ("table = 'a.b'\nrows = 'latest'\nwindow = '1h'", "window is nothing for the latest row"),
        ("table = 'a.b'\nkey = ['a']", "key is for a query alone"),
        ("table = 'a.b'\nlimit = 0", "limit=0: must be a whole number from 1"),
        ("table = 'a.b'\nlimit = '7'", "limit='7': must be a whole number from 1"),
        ("table = 'a.b'\nlimit = true", "limit=True: must be a whole number"),
        ("table = 'a.b'\nwindow = '12'", "window=12: must be a whole number and a unit"),
        ("table = 'a.b'\nhistory = 1", "history must be true or false"),
        ("query = 'DROP DATABASE power'", "query must be a SELECT"),
        ("query = '/* SELECT */ INSERT INTO a VALUES (1)'", "query must be a SELECT"),
        ("query = 'SELECTED'", "query must be a SELECT"),
        ("query = 'SELECT 1'\nrows = 'latest'", "rows is nothing for a query"),
        ("query = 'SELECT 1'\nwindow = '1h'", "window is nothing for a query"),
        ("query = 'SELECT 1'\nkey = []", "key must be a list of columns"),
        ("query = 'SELECT 1'\nkey = 'a'", "key must be a list of columns"),
    ],
)
def test_what_a_section_may_not_say_is_one_line_that_names_it(
    tmp_path: Path, section: str, said: str
) -> None:
    with pytest.raises(SettingError) as raised:
        read(tmp_path, f"[meters]\n{section}\n")
    line = str(raised.value)
    assert "[meters]: " in line
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"must have one to {MOST_TABLES} sections"),
        ("\n".join(f"[t{number}]\ntable = 'a.b'" for number in range(17)), "not 17"),
        ("[a]\ntable = 'a.b'\n[a]\ntable = 'a.c'", "is no TOML"),
        ("table = 'a.b'", "[table]: must be a section of its own"),
        ("[psp_a]\ntable = 'a.b'", "[psp_a]: "),
        ("[' a']\ntable = 'a.b'", "without spaces around it"),
        ("[a", "is no TOML"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingError) as raised:
        read(tmp_path, text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SettingError, match="PERSPECTIVE_TABLES: can't read nowhere"):
        read_tables(Settings(perspective_tables="nowhere.toml"))
