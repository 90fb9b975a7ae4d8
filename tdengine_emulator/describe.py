"""The page docs/emulator-sql.md, which lists what the emulator understands: made from its grammar and tables.

    python -m tdengine_emulator.describe > docs/emulator-sql.md

Nothing imports this when the emulator runs. What a function or an action links, it is seen in there: a
recording of a real TDengine where one has it, else a test.
"""

import ast
import inspect
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tdengine_emulator import expressions, grammar, server, store, tmq, topics, wire

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS = sorted((ROOT / "tests" / "recordings").glob("*.jsonl"))
TESTED = ("meaning", "types", "history", "topics", "data", "robustness")
TESTS = [ROOT / "tests" / f"test_emulator_{part}.py" for part in TESTED]
INLINED = {"definition", "if_needed", "key"}  # besides the rules with names that begin with _
LONGEST_EXAMPLE = 120
STATEMENTS, WHOLE = "statement", "start"
TYPES_SHOWN = {"VARCHAR": "VARCHAR(n), BINARY(n)", "INT": "INT, INTEGER", "DECIMAL64": ""}
HOLDS = {
    "VARCHAR": "text of up to n bytes of UTF-8",
    "NCHAR": "text of up to n characters",
    "VARBINARY": "up to n bytes, written as text or behind `\\x` in hexadecimal",
    "GEOMETRY": "up to n bytes of Well-Known Binary; as text `POINT(x y)` alone",
    "JSON": "a flat object, as the only tag of a supertable",
    "DECIMAL": "up to 38 digits; 18 take 8 bytes, more take 16",
    "BLOB": "bytes, in one column of a table",
    "TIMESTAMP": "a time in the database's precision, written as a number or as ISO 8601",
    "BOOL": "`true` and `false`",
}


class Seen(NamedTuple):
    """Where something is used: the file, the test in it if it is one of tests, and a recorded statement."""

    path: Path
    test: str = ""
    example: str = ""

    @property
    def link(self) -> str:
        text = f"{self.path.stem}, `{self.test}`" if self.test else self.path.stem
        return f"[{text}](../{self.path.relative_to(ROOT).as_posix()})"


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            "# What the emulator understands",
            "",
            "Made from the emulator's grammar and tables by `python -m tdengine_emulator.describe`, and held",
            "to them by a test. All else is refused, by a message that says so. Recordings are conversations",
            "with a real TDengine, whose answers the emulator is held to. What it is for tells",
            "[The emulator](emulator.md), and what all of this is [README.md](../README.md).",
            "",
            *statements(),
            *functions(),
            *types(),
            *system_tables(),
            *actions(),
            *limits(),
        ]
    )


# Statements


def rules() -> Iterator[tuple[str, str, str]]:
    """The grammar's rules and terminals: name, definition, and the heading that they stand under."""
    heading = ""
    for block in re.split(r"\n(?! )", grammar.GRAMMAR):
        if block.startswith("//"):
            heading = block.removeprefix("// ")
        elif found := re.match(r"[!?]*(\w+)(?:\.\d)?: (.*)", block, re.DOTALL):
            yield found[1], " ".join(found[2].split()), heading


def is_keyword(definition: str) -> bool:
    return re.fullmatch(r'"[^"]+"i?', definition) is not None


def readable(definition: str, inlined: dict[str, str]) -> str:
    """A rule as one reads it: keywords bare, what may be left out in [brackets], other rules by name."""
    text = re.sub(r" -> \w+", "", definition).replace("_in_list", "in_list").replace(" | PLAIN_ROW", "")
    for _ in range(3):  # as deep as they lie in each other
        text = re.sub(r'"[^"]*"i?|\w+', lambda found: inlined.get(found[0], found[0]), text)
    text = re.sub(r'"([^"]+)"i?', lambda found: found[1].replace("(", "\1").replace(")", "\2"), text)
    text = re.sub(r"(\w+)\?", r"[\1]", text)
    while (simpler := re.sub(r"\(([^()]*)\)\?", r"[\1]", text)) != text:
        text = simpler
    text = re.sub(r"\(([^()]*)\)([*+])", r"{ \1 }\2", text)
    return text.replace("\1", "(").replace("\2", ")").replace("{ ", "(").replace(" }", ")")


def statements() -> Iterator[str]:
    known = list(rules())
    definitions = {name: definition for name, definition, _ in known}
    inlined = {
        name: definition if name in INLINED or is_keyword(definition) else f"({definition})"
        for name, definition in definitions.items()
        if name in INLINED or (name.startswith("_") and name not in definition) or is_keyword(definition)
    }
    whole = re.findall(r"\w+", " ".join(definitions[name] for name in (STATEMENTS, "definition", "_show")))
    yield "## Statements"
    yield ""
    yield "Words in capitals are written as they stand, in any case; small words are other rules. `[ ]` may"
    yield "be left out, and what `*` or `+` follows may come several times. A name without backquotes is made"
    yield f"small and may be none of TDengine's {len(grammar.RESERVED_WORDS)}"
    yield "[reserved words](../tdengine_emulator/reserved-words.txt); one in backquotes may be any,"
    yield "and differ from another by its case alone."
    yield ""
    options = ", ".join(f"`{option.upper()}`" for option in sorted(store.WITHOUT_EFFECT))
    yield "Options of a database: `PRECISION` is `'ms'`, `'us'` or `'ns'`; `KEEP` counts the days that a"
    yield f"row's time may lie back, {store.SHORTEST_KEEP} or more, else {store.KEEP_DAYS:,}."
    yield f"{options} are taken without effect."
    headings = dict.fromkeys(
        heading for name, _, heading in known if name not in (WHOLE, STATEMENTS, "definition", "_show")
    )
    for heading in headings:
        yield ""
        yield f"### {heading}"
        yield ""
        yield "```text"
        for name, definition, under in known:
            if under == heading and not (name in inlined or name in (WHOLE, STATEMENTS) or name.isupper()):
                text = readable(definition, inlined)
                yield text if name in whole else f"{name.strip('_')}: {text}"
        yield "```"


# Functions, and where they are seen


def recorded_statements(path: Path) -> Iterator[str]:
    """The queries of a recording which did not fail."""
    asked: dict[tuple[int, int], str] = {}
    for line in path.read_text().splitlines():
        frame = json.loads(line)
        if frame.get("from") == "client" and "hex" in frame:
            content = bytes.fromhex(frame["hex"])
            request, _, action = struct.unpack_from("<QQQ", content)
            if action == wire.QUERY:
                asked[frame["conn"], request] = wire.parse_query(content)
        elif "answer" in frame and '"code":0' in frame["answer"] and frame["body"]:
            yield frame["body"]
        elif frame.get("from") == "server" and "text" in frame:
            answer = json.loads(frame["text"])
            text = asked.pop((frame["conn"], answer["req_id"]), None)
            if text and answer["code"] == 0:
                yield text


def tests_with(is_seen: Callable[[str], object]) -> Iterator[Seen]:
    for path in TESTS:
        source = path.read_text()
        for part in ast.parse(source).body:
            if isinstance(part, ast.FunctionDef) and part.name.startswith("test_"):
                start = min(node.lineno for node in [part, *part.decorator_list])
                if is_seen("\n".join(source.splitlines()[start - 1 : part.end_lineno])):
                    yield Seen(path, part.name)


def seen_function(name: str) -> Seen:
    """The shortest recorded statement with the function, else a test; StopIteration if there is none."""
    call = re.compile(rf"\b{name}\s*\(", re.IGNORECASE)
    recorded = [
        Seen(path, example=text)
        for path in RECORDINGS
        for text in recorded_statements(path)
        if call.search(text)
    ]
    if recorded:
        return min(recorded, key=lambda seen: len(seen.example))
    return next(tests_with(call.search))


def functions() -> Iterator[str]:
    yield ""
    yield "## Functions"
    yield ""
    rows = []
    for name, gives in sorted(expressions.FUNCTIONS.items()):
        seen = seen_function(name)
        example = f"`{seen.example}`" if 0 < len(seen.example) <= LONGEST_EXAMPLE else ""
        rows.append((f"`{name.upper()}`", gives, example, seen.link))
    yield from table(("function", "gives", "for example", "seen in"), rows)


# Types, tables, actions


def types() -> Iterator[str]:
    yield ""
    yield "## Types"
    yield ""
    yield "BLOB and DECIMAL are for columns alone, JSON for a tag. All are seen in"
    yield "[09-types](../tests/recordings/09-types.jsonl) and"
    yield "[test_emulator_types](../tests/test_emulator_types.py)."
    yield ""
    rows = []
    for kind, about in wire.TYPES.items():
        with_size = f"{kind}(n)" if not (about.size or about.code) else kind
        shown = TYPES_SHOWN.get(kind, "DECIMAL(digits[, scale])" if kind == "DECIMAL" else with_size)
        size = "n" if with_size != kind else str(about.size)
        if shown:
            rows.append((f"`{shown}`", str(about.number), size, HOLDS.get(kind, numbers(about))))
    yield from table(("type", "number on the wire", "bytes", "holds"), rows)


def numbers(about: wire.Type) -> str:
    """What a number's type holds."""
    if about.code in "fd":
        return f"a floating-point number of {about.size * 8} bits, NaN and infinity too"
    bits = about.size * 8
    lowest, highest = (0, 2**bits - 1) if about.code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return f"{lowest:,} to {highest:,}"


def system_tables() -> Iterator[str]:
    yield ""
    yield "## Tables of the system"
    yield ""
    tables = [
        (f"{database}.{name}", columns)
        for database, known in store.SYSTEM_TABLES.items()
        for name, columns in known.items()
    ]
    rows = [(f"`{name}`", ", ".join(f"`{column}`" for column in columns)) for name, columns in tables]
    yield from table(("table", "columns"), rows)


def actions() -> Iterator[str]:
    yield ""
    yield "## Actions of the WebSocket, and REST"
    yield ""
    yield "The WebSocket's path is `/ws`, for consumers of topics `/rest/tmq`; an action is what a message"
    yield "asks for."
    yield ""
    rows = []
    for path, owner in (("/ws", server.Socket), ("/ws", server.Prepared), ("/rest/tmq", tmq.Consumer)):
        for name, method in vars(owner).items():
            if name.startswith("do_"):
                action = name.removeprefix("do_")
                kind = "binary" if action in server.ACTIONS.values() else "text"
                does = (inspect.getdoc(method) or "").splitlines()[0]
                rows.append((f"`{path}`", f"`{action}`", kind, does, seen_action(action, path).link))
    yield from table(("path", "action", "message", "does", "seen in"), rows)
    yield ""
    yield "REST is seen in [08-rest](../tests/recordings/08-rest.jsonl)."
    yield ""
    paths = []
    for handler in (server.Ping, server.Login, server.Sql):
        paths.append((inspect.getdoc(handler) or "").partition(": ")[::2])
    yield from table(
        ("REST request", "does"), [(f"`{path}`", f"{does[0].upper()}{does[1:]}") for path, does in paths]
    )


def seen_action(action: str, at: str) -> Seen:
    """A recording, else a test with the action; StopIteration if there is none."""
    numbers = [number for number, name in server.ACTIONS.items() if name == action]
    for path in RECORDINGS:
        for line in path.read_text().splitlines():
            frame = json.loads(line)
            if frame.get("from") != "client" or frame["path"] != at:
                continue
            if numbers and "hex" in frame and bytes.fromhex(frame["hex"])[16] in numbers:
                return Seen(path)
            if "text" in frame and json.loads(frame["text"])["action"] == action:
                return Seen(path)
    return next(tests_with(lambda body: f'"{action}"' in body))


def limits() -> Iterator[str]:
    yield ""
    yield "## Limits"
    yield ""
    known = [
        ("a statement", grammar.MAX_LENGTH, "bytes of UTF-8"),
        (
            "a table's columns and tags, where TDengine has 4,096: SQLite holds no more",
            store.MOST_IN_SQLITE,
            "columns",
        ),
        ("a supertable's tags", store.MAX_TAGS, "tags"),
        ("a row", store.MAX_ROW_BYTES, "bytes"),
        ("all tags of a subtable", store.MAX_TAG_BYTES, "bytes"),
        ("a text in a column", store.LONGEST_TEXT, "bytes"),
        ("a text in a tag", store.LONGEST_TAG, "bytes"),
        ("the name of a column or tag", store.LONGEST_COLUMN_NAME, "bytes"),
        ("the name of a table", store.LONGEST_TABLE_NAME, "bytes"),
        ("a supertable's or plain table's rows; beyond them the oldest leave", store.MAX_ROWS, "rows"),
        ("the topics", store.MOST_TOPICS, "topics"),
        ("what is kept of a topic and a vgroup; beyond it the oldest leave", topics.MOST_KEPT, "rows"),
        ("a message of the WebSocket", server.MAX_MESSAGE, "bytes"),
    ]
    yield from table(("of", "at most"), [(what, f"{number:,} {unit}") for what, number, unit in known])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


if __name__ == "__main__":
    print(page())
