"""The documents say what is so: snippets, commands, settings, messages and links are held to the sources.

What their text has to look like for that:

- A fence has a language. ```python producer.py quotes that file: the lines stand there just so, but for their
  common indentation; a line that is only `...` or `…` (also as a comment) stands for what is left out. ```sh
  without a file holds commands to type, ```python without one runs as it stands. HTML and JavaScript always
  quote.
- In docs/settings.md a table's row has names in the first column, defaults in the second, in backquotes.
- In docs/troubleshooting.md a row's first column is the message, or several, in backquotes, with … for what
  varies and for an end that is left out.
"""

import ast
import functools
import json
import os
import re
import shlex
import signal
import subprocess
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import ROOT, Process, answers, free_port, python, wait_for

from tdengine_perspective.settings import Settings

if TYPE_CHECKING:
    from conftest import TDengine

README = ROOT / "README.md"
SETTINGS = ROOT / "docs" / "settings.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))  # of the documentation, one a subject
DOCUMENTS = [README, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")), *PAGES]
README_SIZE = 20_000  # bytes at most
FIRST_SCREEN = 40  # lines of README.md

# Where settings and messages are looked for.
SCRIPTS = sorted([*ROOT.glob("*.py"), *ROOT.glob("tdengine_perspective/**/*.py")])
REPORTING_SCRIPTS = [*SCRIPTS, ROOT / "tdengine_emulator" / "__main__.py"]
SHELL_SCRIPTS = [ROOT / "run.sh", ROOT / "install.sh"]
VIEWER_PAGE = [ROOT / "prsp-viewer.html", *sorted(ROOT.glob("page/**/*.js"))]
# Functions that make the status line, and what a panel says.
PAGE_REPORTERS = (
    *("checkAddress", "describeFaults", "describeState"),
    *("linkedElsewhere", "tooManyLinked", "whyNotAsLinked", "whyNotLoaded"),
)

# What is wrong with a viewer's request is told to that viewer; the log says "refused the viewer at …". The
# modules that raise it as such an exception (elsewhere the name may mean another), and those that have no
# other messages; by their files' paths without .py, or a folder's, for all in it.
TOLD_TO_VIEWERS = {"Refused", "NotAnswered"}
ANSWER_VIEWERS = {"tdengine_perspective/gate", "tdengine_perspective/history"}
ABOUT_REQUESTS = {
    "tdengine_perspective/gate/expressions",
    "tdengine_perspective/history/expressions",
    "tdengine_perspective/history/spans",
}

# What a user starts, as a command begins with it, and how a test asks it for help.
PROGRAMS = {
    "python producer.py": python("producer.py", "--help"),
    "python perspective_server.py": python("perspective_server.py", "--help"),
    "python -m tdengine_emulator": python("-m", "tdengine_emulator", "--help"),
    "sh run.sh": ["sh", "run.sh", "--help"],
}
# Commands in the documents that are not the project's: no test can run them on any machine.
OUTSIDE = {"jupyter", "pip", "apt-get", "apt-key", "curl", "docker", "echo", "systemctl", "tee", "wget"}
# Their options are those of other programs.
FOREIGN_MODULES = {"http.server", "pytest", "ruff", "venv"}
NAME = r"(?<![A-Z_])(?:TAOS|PERSPECTIVE)_[A-Z_]+"


FENCE = re.compile(r"^ *```(.*)\n((?:.*\n)*?) *```$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """A fenced block: its info string's language and file, its text, and the heading it stands under."""

    document: str
    language: str
    file: str
    text: str
    section: str
    line: int

    def __str__(self) -> str:
        return f"{self.document} line {self.line}: {self.language} {self.file}".strip()


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@functools.cache
def prose(document: Path) -> str:
    """A document without its fences."""
    return FENCE.sub("", document.read_text())


def read_fences(document: Path) -> Iterator[Fence]:
    text = document.read_text()
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        language, _, file = found[1].strip().partition(" ")
        headings = re.findall(r"^#+ (.+)$", FENCE.sub("", before), re.MULTILINE)
        line = before.count("\n") + 1
        yield Fence(name_of(document), language, file.strip(), textwrap.dedent(found[2]), headings[-1], line)


FENCES = [fence for document in DOCUMENTS for fence in read_fences(document)]
CODE_SPANS = [code for document in DOCUMENTS for code in re.findall(r"`([^`\n]+)`", prose(document))]


def table_rows(document: Path) -> list[list[str]]:
    """The cells of a document's tables, without their heads."""
    rows = re.findall(r"^\|(.*)\|$", prose(document), re.MULTILINE)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
    heads = {number - 1 for number in rules}
    assert rules, f"{name_of(document)} has no table"
    return [row for number, row in enumerate(cells) if number not in heads | set(rules)]


# Structure


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.read_bytes()) <= README_SIZE


def test_the_first_screen_shows_what_it_is_and_how_to_run_and_to_test_it() -> None:
    screen = "\n".join(README.read_text().splitlines()[:FIRST_SCREEN])
    assert re.search(r"^!\[[^\]]+\]\(imgs/dashboard\.gif\)$", screen, re.MULTILINE)
    fences = [found[2] for found in FENCE.finditer(screen)]
    assert fences == ["sh install.sh\nsh run.sh\n", "sh tests/run.sh\n"]


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=name_of)
def test_the_readme_leads_to_every_document_and_each_page_back(document: Path) -> None:
    assert name_of(document) in {link.partition("#")[0] for link in links(README)}
    if document in PAGES:
        assert "../README.md" in {link.partition("#")[0] for link in links(document)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_code_span_ends_in_its_line(document: Path) -> None:
    """Or the tests below would not find what stands in it."""
    assert [line for line in prose(document).splitlines() if line.count("`") % 2] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_document_begins_with_its_one_title(document: Path) -> None:
    assert re.findall(r"^#+", prose(document), re.MULTILINE)[0] == "#"
    assert len(re.findall(r"^# ", prose(document), re.MULTILINE)) == 1


# Snippets


def snippets(*languages: str, quoting: bool) -> list[Fence]:
    return [fence for fence in FENCES if fence.language in languages and bool(fence.file) == quoting]


def is_gap(line: str) -> bool:
    return re.fullmatch(r"(#|//|/\*|<!--)? ?(…|\.\.\.) ?(\*/|-->)?", line.strip()) is not None


def find(lines: list[str], source: list[str], start: int) -> int | None:
    """Where in `source`, from `start` on, the lines stand one after another: the index after them."""
    for at in range(start, len(source) - len(lines) + 1):
        if source[at : at + len(lines)] == lines:
            return at + len(lines)
    return None


def is_quoted(snippet: str, source: str) -> bool:
    """Whether the snippet's lines stand in the source, all moved by the same indentation."""
    parts, there = [[]], source.splitlines()
    for line in snippet.splitlines():
        if is_gap(line):
            parts.append([])
        else:
            parts[-1].append(line.rstrip())
    for indentation in {len(line) - len(line.lstrip()) for line in there}:
        at = 0
        for part in parts:
            moved = [" " * indentation + line if line else "" for line in part]
            at = find(moved, there, at)
            if at is None:
                break
        else:
            return True
    return False


def test_every_snippet_has_a_language() -> None:
    assert [str(fence) for fence in FENCES if not fence.language] == []


@pytest.mark.parametrize("fence", [fence for fence in FENCES if fence.file], ids=str)
def test_a_snippet_that_names_a_file_stands_in_it(fence: Fence) -> None:
    assert (ROOT / fence.file).is_file(), f"there is no {fence.file}"
    assert is_quoted(fence.text, (ROOT / fence.file).read_text()), f"not in {fence.file}:\n{fence.text}"


def test_snippets_of_the_page_name_its_file() -> None:
    assert [str(fence) for fence in snippets("html", "css", "js", "javascript", quoting=False)] == []


def test_snippets_of_json_can_be_read() -> None:
    for fence in snippets("json", quoting=False):
        json.loads(fence.text)


@pytest.fixture
def meters(tdengine: "TDengine", database: str) -> dict[str, str]:
    """The settings of a database with a batch of readings in it."""
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "1"), settings) as producer:
        assert producer.wait() == 0, producer.output
    return settings


def test_snippets_of_python_run_as_they_stand(meters: dict[str, str]) -> None:
    for fence in snippets("python", quoting=False):
        with Process(python("-c", fence.text), meters) as process:
            assert process.wait(60) == 0, f"{fence}\n{process.output}"


def test_the_producer_of_ones_own_writes_what_its_layout_shows(tdengine: "TDengine", database: str) -> None:
    settings = tdengine.settings(database)
    with Process(python("-m", "examples.weather", "2"), settings) as producer:
        assert producer.wait() == 0, producer.output
    connection = tdengine.connect()
    connection.execute(f"USE `{database}`")
    columns = {"timestamp", *(row[0] for row in connection.query("DESCRIBE stations"))} - {"ts"}
    assert list(connection.query("SELECT COUNT(*) FROM stations")) == [(6,)]
    connection.close()
    for viewer in json.loads((ROOT / "examples/weather.json").read_text()):
        named = {*viewer["columns"], *viewer["group_by"], *viewer.get("split_by", []), *viewer["aggregates"]}
        assert named <= columns, viewer["title"]


def test_the_producer_of_ones_own_says_in_a_line_what_is_wrong() -> None:
    settings = {"TAOS_HOST": "localhost", "TAOS_PORT": str(free_port())}
    with Process(python("-m", "examples.weather", "1"), settings) as producer:
        assert producer.wait() == 1
        assert producer.output.startswith("weather: nothing answers at ")
        assert len(producer.lines) == 1


def test_snippets_of_sql_run_as_they_stand(
    tdengine: "TDengine", database: str, meters: dict[str, str]
) -> None:
    """But for the name of the database."""
    texts = [fence.text for fence in snippets("sql", quoting=False)]
    texts += [code for code in CODE_SPANS if code.startswith("SELECT ")]
    connection = tdengine.connect()
    connection.execute(f"USE `{database}`")
    connection.execute(  # of recordings/11-history
        "CREATE STABLE readings (ts TIMESTAMP, current FLOAT, voltage INT, phase DOUBLE, note NCHAR(12), "
        "ok BOOL) TAGS (groupid INT, location BINARY(16))"
    )
    for text in texts:
        connection.query(text.replace("`power`", f"`{database}`"))
    connection.close()


# Commands


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell text, without the variables that are set for them, and without sudo."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set(";&|()"):
                if command:
                    yield command
                command = []
            elif command or not (re.match(r"\w+=", word) or word == "sudo"):
                command.append(word)


SHELL_SNIPPETS = snippets("sh", "shell", "bash", "console", quoting=False)


@pytest.mark.parametrize("fence", SHELL_SNIPPETS, ids=str)
def test_commands_to_type_are_sound_shell(fence: Fence) -> None:
    shellcheck = Path(sysconfig.get_path("scripts")) / "shellcheck"
    done = subprocess.run([shellcheck, "-s", "sh", "-"], input=fence.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("fence", SHELL_SNIPPETS, ids=str)
def test_commands_to_type_name_programs_that_exist(fence: Fence) -> None:
    for command in commands(fence.text):
        program, *arguments = command
        program = program.rpartition("/")[2]
        if program == "sh" or (program in ("python", "python3") and arguments[0] != "-m"):
            assert (ROOT / arguments[0]).is_file(), f"there is no {arguments[0]}"
        elif program in ("python", "python3"):
            module = arguments[1]
            path = ROOT / module.replace(".", "/")
            is_own = path.is_dir() or path.with_suffix(".py").is_file()
            assert module in FOREIGN_MODULES or is_own, f"there is no module {module}"
        else:
            assert program in OUTSIDE, f"{program}: run it in a test, or count it among OUTSIDE"


@functools.cache
def options(program: str) -> set[str]:
    """The long options that a program's help lists, but for --help."""
    done = subprocess.run(PROGRAMS[program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", done.stdout)) - {"--help"}


def usages() -> Iterator[tuple[str, set[str]]]:
    """The project's programs in the documents' code, each with its options there; "" for options alone."""
    typed = [shlex.join(command) for fence in SHELL_SNIPPETS for command in commands(fence.text)]
    for code in [*typed, *CODE_SPANS]:
        code = re.sub(r"^(\w+=\S* )+", "", code).replace("venv/bin/python", "python")
        program = next((program for program in PROGRAMS if code.startswith(program)), "")
        if program or code.startswith("--"):
            yield program, set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)) - {"--help"}


def test_every_option_in_the_documents_is_in_the_programs_help() -> None:
    everywhere = set().union(*map(options, PROGRAMS))
    for program, named in usages():
        assert named <= (options(program) if program else everywhere), (program, named)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_is_in_the_documents(program: str) -> None:
    named = set().union(*(named for user, named in usages() if user in (program, "")))
    assert options(program) <= named


@pytest.mark.emulator_only
def test_the_quick_start_makes_a_live_dashboard(clone: Path) -> None:
    """Just what the README says to type and to open, but for the ports, which may be taken.

    Ctrl-C ends all of it.
    """
    typed = [fence for fence in SHELL_SNIPPETS if fence.section == "Quick start"]
    lines = typed[0].text.splitlines()
    assert lines == ["sh install.sh", "sh run.sh"]
    assert "python -m http.server 8081" in README.read_text()

    ports = {"6041": free_port(), "8080": free_port(), "8081": free_port()}
    settings = {
        "TAOS_PORT": str(ports["6041"]),
        "PERSPECTIVE_PORT": str(ports["8080"]),
        "PATH": f"{clone / 'venv' / 'bin'}:{os.environ['PATH']}",
    }
    everything = "\n".join(document.read_text() for document in DOCUMENTS)
    addresses = sorted(set(re.findall(r"http://localhost:(808[01])([\w/.-]*)", everything)))
    with (
        Process(["sh", "-c", "\n".join(["set -e", *lines])], settings, cwd=clone) as run,
        Process(["python", "-m", "http.server", str(ports["8081"])], settings, cwd=clone),
    ):
        for port, path in addresses:
            # The server says that it is well once it has data.
            wait_for(lambda port=port, path=path: is_given_out(ports[port], path), path, timeout=60)
        os.killpg(run.pid, signal.SIGINT)
        wait_for(lambda: not answers(ports["8080"]) and not answers(ports["6041"]), "the end")
    assert {("8080", "/"), ("8080", "/health"), ("8081", "/prsp-viewer.html")} <= set(addresses)


def is_given_out(port: int, path: str) -> bool:
    import requests

    return requests.get(f"http://localhost:{port}{path}", timeout=5).status_code == 200


# Settings


def settings_in_code() -> dict[str, str]:
    """Every setting and its default, "" for none."""
    return {each.name.upper(): str(each.default) for each in fields(Settings)}


def settings_read(tree: ast.AST) -> set[str]:
    """The settings whose names stand in a script, as one that reads the environment has them."""
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and re.fullmatch(NAME, text)}


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_no_program_reads_a_setting_by_itself(script: Path) -> None:
    tree = ast.parse(script.read_text())
    assert settings_read(tree) == set()
    reads = re.search(r"os\.(?:environ|getenv)\b", ast.unparse(tree))
    assert not reads or name_of(script) == "tdengine_perspective/settings.py"


def test_run_sh_has_the_same_defaults() -> None:
    found = re.findall(rf"\$\{{({NAME}):?-([^}}]+)\}}", (ROOT / "run.sh").read_text())
    assert found, "run.sh has defaults that this test can find"
    for name, default in found:
        assert settings_in_code()[name] == default, name


@pytest.mark.parametrize(("program", "prefix"), [("producer.py", "TAOS_"), ("perspective_server.py", "")])
def test_help_lists_every_setting_with_its_default(program: str, prefix: str) -> None:
    done = subprocess.run(python(program, "--help"), cwd=ROOT, capture_output=True, text=True, check=True)
    text = " ".join(done.stdout.split())
    for name, default in settings_in_code().items():
        if name.startswith(prefix):
            shown = rf"\({re.escape(default)}\)" if default else ""
            assert re.search(rf" {name} [^()]+{shown}", text), name


def settings_in_tables() -> dict[str, str]:
    """Every setting in the tables of docs/settings.md, and its default there, "" for none."""
    found = {}
    for names, defaults, *_ in table_rows(SETTINGS):
        listed = re.findall(rf"`({NAME})`", names)
        given = re.findall(r"`([^`]*)`", defaults) or [""] * len(listed)
        if listed:
            found |= dict(zip(listed, given, strict=True))
    return found


def test_every_setting_is_in_the_table_and_the_other_way_round() -> None:
    assert sorted(settings_in_tables()) == sorted(settings_in_code())


def test_the_defaults_in_the_table_are_those_of_the_code() -> None:
    assert settings_in_tables() == settings_in_code()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_setting_is_named_that_there_is_not(document: Path) -> None:
    assert set(re.findall(NAME, document.read_text())) <= settings_in_code().keys()


# Messages

PREFIX = r"^(?:producer|perspective_server|tdengine_emulator|run\.sh|install\.sh): "
# Functions that print or log their text, and exceptions (besides the scripts' own) whose text is printed.
REPORTERS = {"fail", "failed", "Failed", "report", "warning", "error", "critical", "note"}
REPORTERS |= {"note_failure", "give_up"}
NOTICES = (
    ROOT / "tdengine_perspective" / "mirror" / "notices.py"
)  # whose functions make the messages that they return
ERRORS = {"SystemExit", "ArgumentTypeError", "ValueError", "OSError", "RuntimeError"}
GOOD_NEWS = {"writing again"}


@functools.cache
def own_errors() -> set[str]:
    """The exceptions that the scripts define."""
    classes = [
        (node.name, {ast.unparse(base) for base in node.bases})
        for script in SCRIPTS
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    found = {"Exception", *ERRORS}
    for _ in classes:  # the bases of a class may come after it
        found |= {name for name, bases in classes if bases & found}
    return found


def template(node: ast.expr) -> str:
    """A text with … for what varies."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"%(?:\.\d)?[sdfgr]", "…", text)
        case ast.JoinedStr(values=parts):
            return "".join(template(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left) + template(right)
    return "…"


def texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return [template(node)]


def is_one_of(script: Path, modules: set[str]) -> bool:
    """Whether the script, or a folder that it is in, is among the modules."""
    module = script.relative_to(ROOT).with_suffix("")
    return not modules.isdisjoint(path.as_posix() for path in (module, *module.parents))


def messages_in_python(script: Path) -> Iterator[str]:
    if is_one_of(script, ABOUT_REQUESTS):
        return
    for node in ast.walk(ast.parse(script.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in TOLD_TO_VIEWERS and is_one_of(script, ANSWER_VIEWERS):
            continue
        to_stderr = any(ast.unparse(keyword.value) == "sys.stderr" for keyword in node.keywords)
        if name in REPORTERS or name in own_errors() or (name == "print" and to_stderr):
            # ViewerHandler.note puts a refusal together out of several texts.
            yield from [text for text in texts(node.args[0]) if name != "note" or text.startswith("refused")]
        for passed, argument in zip(node.args, node.args[1:], strict=False):
            if ast.unparse(passed).endswith(".fail"):  # it is called with the next argument
                yield from texts(argument)


def messages_in_notices() -> Iterator[str]:
    for function in ast.parse(NOTICES.read_text()).body:
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and len(words := template(node.value).split()) > 4:
                yield " ".join(words)


def messages_in_shell(script: Path) -> Iterator[str]:
    """What it says on standard error."""
    text = r'"((?:[^"\\]|\\.)*)"'
    for kind, message, rest in re.findall(rf"\b(say|fail|echo) {text}(.*)", script.read_text()):
        if kind == "fail" or ">&2" in rest:
            yield re.sub(r"\$\{[^}]*\}|\$\([^)]*\)|\$\w+", "…", message)


def messages_in_page() -> Iterator[str]:
    """What stands in its status line, but for "live", and why it does not start at all."""
    text = "\n".join(file.read_text() for file in VIEWER_PAGE)
    for function in PAGE_REPORTERS:
        body = re.search(
            rf"^( *)(?:export )?function {function}\(.*?\n\1\}}\n", text, re.DOTALL | re.MULTILINE
        )
        assert body, f"the page has no function {function}"
        found = re.findall(r"(?:\[\"\w+\", |Error\(|return )(?:\"([^\"]*)\"|`([^`]*)`)", body[0])
        assert found, f"{function} says nothing that this test can find"
        for plain, varying in found:
            yield plain or re.sub(r"\$\{[^}]*(?:\}|$)", "…", varying)


def messages_in_code() -> set[str]:
    """What the programs can say when something goes wrong, without their own names before it.

    What only puts other messages together has fewer than two words of its own, and is left out.
    """
    found: list[str] = []
    for script in REPORTING_SCRIPTS:
        found += messages_in_python(script)
    found += messages_in_notices()
    for script in SHELL_SCRIPTS:
        found += messages_in_shell(script)
    found += messages_in_page()
    messages = {normal(text) for text in found} - GOOD_NEWS
    return {text for text in messages if len(re.findall(r"[A-Za-z]{2,}", text)) > 1}


def messages_in_tables() -> list[str]:
    """The messages in the first column of the tables of docs/troubleshooting.md."""
    found = []
    for row in table_rows(TROUBLESHOOTING):
        found += re.findall(r"`([^`]+)`", row[0]) or [row[0]]
    return [normal(message) for message in found]


def normal(message: str) -> str:
    """Without the program's name before it, and with one … where several follow on each other."""
    return re.sub(r"…(?:\s*…)+", "…", re.sub(PREFIX, "", " ".join(message.split())))


def covers(row: str, message: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, row.split("…"))), message) is not None


def test_every_message_is_in_one_row_of_the_tables() -> None:
    rows = messages_in_tables()
    wrong = []
    for message in sorted(messages_in_code()):
        covering = [row for row in rows if covers(row, message)]
        if len(covering) != 1:
            wrong.append(f"{message!r} is in {covering or 'no row'}")
    assert not wrong, "\n".join(wrong)


def test_every_message_in_the_tables_is_one_of_the_programs() -> None:
    messages = messages_in_code()
    assert [row for row in messages_in_tables() if not any(covers(row, text) for text in messages)] == []


# Links


def links(document: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    found += re.findall(r"(?:href|src|srcset)=\"([^\"\s]+)\"", prose(document))
    return sorted({link for link in found if not re.match(r"https?://", link)})


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("document", "link"),
    [(document, link) for document in DOCUMENTS for link in links(document)],
    ids=lambda value: name_of(value) if isinstance(value, Path) else value,
)
def test_a_link_leads_somewhere(document: Path, link: str) -> None:
    file, _, anchor = link.partition("#")
    target = (document.parent / file).resolve() if file else document
    assert target.exists(), f"there is no {file}"
    assert target.is_relative_to(ROOT), f"{file} is none of the project's"
    if anchor:
        assert anchor in anchors(target), f"{target.name} has no heading for #{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_file_of_the_project_that_is_named_is_there(document: Path) -> None:
    """Under its path, or by its name alone where that is clear from what it is about."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in ("venv", ".git")]
    own = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    known = {path.relative_to(ROOT).as_posix() for path in own} | {path.name for path in own}
    named = re.findall(r"`([\w./-]+\.(?:py|sh|html|js|json|lark|md|txt|toml))`", prose(document))
    assert set(named) <= known


# Pictures


def test_the_architecture_is_drawn_from_the_sources(tmp_path: Path) -> None:
    subprocess.run(python("imgs/architecture.py", str(tmp_path)), cwd=ROOT, check=True)
    for name in ("architecture.svg", "architecture-dark.svg"):
        drawn = (tmp_path / name).read_text()
        assert drawn == (ROOT / "imgs" / name).read_text(), "run: sh imgs/make.sh"
        for file in re.findall(r"[\w/-]+\.(?:py|html)", drawn):
            assert (ROOT / file).is_file() or (ROOT / "tdengine_perspective" / file).is_file(), file


def test_the_recording_is_small_enough_for_a_page() -> None:
    recording = (ROOT / "imgs" / "dashboard.gif").read_bytes()
    assert recording.startswith(b"GIF89a")
    assert len(recording) < 3_000_000
