"""What install.sh, run.sh and tests/run.sh promise.

Most tests run a copy of the scripts on stub parts: small programs of the parts' names that say what they were
started with and leave a child behind, so that restarts, deaths and stops take moments. The last tests run the
real parts.
"""

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import termios
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from support import ROOT, Process, answers, free_port, make_venv_of_links, wait_for

if TYPE_CHECKING:
    from conftest import TDengine

SHELL = shutil.which("dash") or "/bin/sh"
EMULATOR, PRODUCER, SERVER = "tdengine_emulator", "producer.py", "perspective_server.py"
PACKAGE = "tdengine_perspective"
SETTINGS = ("TAOS_", "PERSPECTIVE_", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "PYTHON")

STUB = """
import os, socket, subprocess, sys, time
if "--port" in sys.argv:
    listening = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
name = os.path.basename(os.path.dirname(__file__) if __file__.endswith("__main__.py") else __file__)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print(name, "runs:", os.getpid(), child.pid, *sys.argv[1:])
settings = [k + "=" + v for k, v in os.environ.items() if k.startswith(("TAOS_", "PERSPECTIVE_"))]
print(name, "settings:", *sorted(settings))
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder with the scripts and a stub for each part; its name has a space, as a user's may."""
    folder = tmp_path / "a clone"
    (folder / EMULATOR).mkdir(parents=True)
    for name in ("install.sh", "run.sh", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (PRODUCER, SERVER, f"{EMULATOR}/__main__.py"):
        (folder / name).write_text(STUB)
    make_venv_of_links(folder)
    return folder


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of 127.0.0.1 on which something accepts connections."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening.getsockname()[1]


@pytest.fixture
def tools_without_python(tmp_path: Path) -> Path:
    """A folder to be the whole PATH: what install.sh uses, but no Python."""
    tools = tmp_path / "tools without python"
    tools.mkdir()
    for name in ("cat", "cmp", "cp", "dirname", "mkdir", "rm", "tr"):
        (tools / name).symlink_to(shutil.which(name))
    return tools


def in_session(session: int) -> list[psutil.Process]:
    """The processes in the session: run.sh, the parts and all that they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


class Run(Process):
    """run.sh in a session of its own; nothing of it outlives the `with`, whatever the parts started."""

    def __init__(self, folder: Path, *options: str, **settings: str):
        environment = {"TMPDIR": str(folder), **settings}
        super().__init__([SHELL, str(folder / "run.sh"), *options], env=environment, cwd=Path("/"))

    def left_over(self) -> list[psutil.Process]:
        return in_session(self.pid)

    def kill(self) -> None:
        super().kill()
        for process in in_session(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end by itself
                process.kill()


def start(folder: Path, *options: str, **settings: str) -> Run:
    """Start the folder's run.sh, on ports where nothing answers unless the settings say otherwise."""
    return Run(folder, *options, **{**free_ports(), **settings})


def free_ports() -> dict[str, str]:
    return {"TAOS_PORT": str(free_port()), "PERSPECTIVE_PORT": str(free_port())}


def part_pid(run: Run, part: str, number: int = 1) -> int:
    """The process id with which the stub part said, for the `number`th time, that it runs."""

    def lines() -> list[str] | bool:
        found = [line for line in list(run.lines) if line.startswith(f"{part} runs:")]
        return len(found) >= number and found

    return int(wait_for(lines, f"start {number} of {part}")[number - 1].split()[2])


class Terminal:
    """run.sh in the foreground of a terminal of its own."""

    def __init__(self, folder: Path, **settings: str):
        self._master, terminal = os.openpty()
        self.output = ""
        self._popen = subprocess.Popen(
            [SHELL, "run.sh"],
            cwd=folder,
            env={**os.environ, **free_ports(), "TMPDIR": str(folder), **settings},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        self.session = self._popen.pid
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        os.set_blocking(self._master, False)
        while not self._closing.wait(0.02):
            try:
                self.output += os.read(self._master, 65536).decode(errors="replace")
            except BlockingIOError:
                pass
            except OSError:  # nobody has the terminal any more
                return

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.output, f"{text!r} on the terminal")

    def press_control_c(self) -> None:
        os.write(self._master, b"\x03")

    def close(self) -> None:
        """Close the terminal's window."""
        if not self._closing.is_set():
            self._closing.set()
            self._reader.join()
            os.close(self._master)

    def wait(self) -> int:
        return self._popen.wait(30)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._popen.kill()
        self._popen.wait()
        for process in in_session(self.session):
            process.kill()


# run.sh: what it starts and says


def test_where_no_tdengine_answers_the_emulator_is_started_and_named_a_stand_in(stubs: Path) -> None:
    port = str(free_port())
    with start(stubs, TAOS_PORT=port) as run:
        run.wait_for_line(
            f"no TDengine on localhost:{port}: starting the emulator there (a stand-in, not TDengine)"
        )
        assert run.wait_for_line(f"{EMULATOR} runs:").endswith(f"--port {port} --data emulator-data")
        part_pid(run, SERVER)
        part_pid(run, PRODUCER)


def test_a_tdengine_that_answers_is_used(stubs: Path, listener: int) -> None:
    with start(stubs, TAOS_PORT=str(listener)) as run:
        run.wait_for_line(f"a TDengine or emulator answers on localhost:{listener}: using it")
        part_pid(run, SERVER)
        part_pid(run, PRODUCER)
        assert EMULATOR not in run.output


def test_no_emulator_is_started_for_a_tdengine_elsewhere(stubs: Path) -> None:
    with start(stubs, TAOS_HOST="tdengine.invalid") as run:
        run.wait_for_line("TDengine is to be on tdengine.invalid:")
        part_pid(run, SERVER)
        part_pid(run, PRODUCER)
        assert EMULATOR not in run.output


def test_no_producer_leaves_the_producer_out(stubs: Path) -> None:
    with start(stubs, "--no-producer") as run:
        part_pid(run, SERVER)
        part_pid(run, EMULATOR)
        run.signal(signal.SIGTERM)
        run.wait()
        assert PRODUCER not in run.output


@pytest.mark.parametrize("settings", [{"TAOS_DATABASE": "test"}, {"TAOS_TABLENAME": "sensors"}])
def test_nothing_is_written_into_another_table_unless_asked_for(
    stubs: Path, settings: dict[str, str]
) -> None:
    with start(stubs, **settings) as run:
        table = f"{settings.get('TAOS_DATABASE', 'power')}.{settings.get('TAOS_TABLENAME', 'meters')}"
        run.wait_for_line(f"showing {table}, and writing nothing into it")
        part_pid(run, SERVER)
        run.signal(signal.SIGTERM)
        run.wait()
        assert f"{PRODUCER} runs" not in run.output
    with start(stubs, "--producer", **settings) as run:
        part_pid(run, PRODUCER)


def test_naming_the_default_table_changes_nothing(stubs: Path) -> None:
    with start(stubs, TAOS_DATABASE="power", TAOS_TABLENAME="meters") as run:
        part_pid(run, PRODUCER)
        assert "writing nothing" not in run.output


def test_a_layout_is_found_from_where_run_sh_was_called(stubs: Path) -> None:
    with start(stubs, PERSPECTIVE_LAYOUT="tmp/mine.json") as run:
        assert "/tmp/mine.json" in run.wait_for_line(f"{SERVER} settings:")


@pytest.mark.parametrize(
    "settings",
    [
        {"TAOS_TLS": "yes", "TAOS_HOST": "localhost", "TAOS_PORT": "1"},
        {"TAOS_DSN": "taosws+wss://root:secret@localhost:1?token=secret"},
    ],
)
def test_no_emulator_is_started_where_tdengine_is_to_speak_tls(stubs: Path, settings: dict[str, str]) -> None:
    """It speaks none, and the parts would refuse it."""
    with start(stubs, **settings) as run:
        run.wait_for_line("TDengine is to be on localhost:1, by TLS")
        part_pid(run, SERVER)
        assert EMULATOR not in run.output
        said = [line for line in run.lines if " settings: " not in line]
        assert "secret" not in "\n".join(said)
        for process in run.left_over():
            with contextlib.suppress(psutil.NoSuchProcess):
                assert "secret" not in " ".join(process.cmdline())


def test_the_address_in_one_line_leads_to_a_tdengine_of_this_machine(stubs: Path, listener: int) -> None:
    with start(stubs, TAOS_DSN=f"taosws://root:secret@127.0.0.1:{listener}") as run:
        run.wait_for_line(f"a TDengine or emulator answers on 127.0.0.1:{listener}: using it")


def test_a_server_for_all_prints_addresses_that_lead_to_it(stubs: Path) -> None:
    """On this machine and on others, and of the page that a file server gives out here."""
    with start(stubs, PERSPECTIVE_PORT="9000", PERSPECTIVE_HOST="0.0.0.0") as run:
        line = run.wait_for_line("the dashboard is at http://localhost:9000/")
        assert "0.0.0.0" not in line
        line = run.wait_for_line("python -m http.server 8081")
        assert line.endswith(
            ", with PERSPECTIVE_ALLOWED_ORIGINS=http://localhost:8081, and open "
            "http://localhost:8081/prsp-viewer.html?server=localhost:9000"
        )


def test_a_file_of_authorities_is_found_from_where_run_sh_was_called(stubs: Path) -> None:
    with start(stubs, TAOS_CA="tmp/nowhere.pem") as run:
        assert run.wait() == 1
    assert run.lines == ["run.sh: TAOS_CA: can't read /tmp/nowhere.pem: No such file or directory"]


@pytest.mark.skipif(answers(8080), reason="something has the dashboard's usual port")
def test_the_two_addresses_are_printed(stubs: Path) -> None:
    with start(stubs, PERSPECTIVE_PORT="8080") as run:
        run.wait_for_line("http://localhost:8080/")
        line = run.wait_for_line("python -m http.server 8081")
        assert line.endswith("http://localhost:8081/prsp-viewer.html")


def test_the_addresses_follow_the_settings(stubs: Path) -> None:
    with start(stubs, PERSPECTIVE_PORT="9000", PERSPECTIVE_HOST="192.0.2.1") as run:
        run.wait_for_line("http://192.0.2.1:9000/")
        run.wait_for_line("http://localhost:8081/prsp-viewer.html?server=192.0.2.1:9000")


def test_settings_reach_the_parts(stubs: Path) -> None:
    with start(stubs, "--producer", TAOS_DATABASE="other", TAOS_PASSWORD="a b") as run:
        for part in (SERVER, PRODUCER):
            line = run.wait_for_line(f"{part} settings:")
            assert "TAOS_DATABASE=other" in line
            assert "TAOS_PASSWORD=a b" in line


def test_where_the_dashboards_port_is_taken_nothing_is_started(stubs: Path, listener: int) -> None:
    with start(stubs, PERSPECTIVE_PORT=str(listener)) as run:
        assert run.wait() == 1
    assert run.lines == [
        f"run.sh: something answers at http://localhost:{listener}/ already, perhaps another dashboard: "
        "set PERSPECTIVE_PORT to a free port"
    ]
    assert not list(stubs.glob("tmp.*"))


@pytest.mark.parametrize(
    ("setting", "text", "remedy"),
    [
        ("TAOS_HOST", "localhost:6041", "such as TAOS_HOST=localhost TAOS_PORT=6041"),
        ("TAOS_TABLENAME", "power.meters", "write TAOS_DATABASE=power TAOS_TABLENAME=meters"),
        ("PERSPECTIVE_TABLE_NAME", "psp_demo", "without psp_"),
        ("TAOS_PORT", "http", "must be a whole number"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line_and_nothing_is_started(
    stubs: Path, setting: str, text: str, remedy: str
) -> None:
    with start(stubs, **{setting: text}) as run:
        assert run.wait() == 1
        (line,) = run.lines
        assert line.startswith(f"run.sh: {setting}")
        assert remedy in line


LATE = """
import socket, sys, time
time.sleep(0.5)
print("listens", flush=True)
listening = socket.create_server(("127.0.0.1", int(sys.argv[-3])))
time.sleep(3600)
"""


def test_the_others_start_once_the_emulator_answers(stubs: Path) -> None:
    (stubs / EMULATOR / "__main__.py").write_text(LATE)
    with start(stubs) as run:
        part_pid(run, PRODUCER)
        part_pid(run, SERVER)
        starts = [number for number, line in enumerate(run.lines) if " runs: " in line]
        assert run.lines.index("listens") < min(starts)


def test_an_emulator_that_dies_at_the_start_is_not_waited_for(stubs: Path) -> None:
    (stubs / EMULATOR / "__main__.py").write_text("import sys; sys.exit('no room for the data')")
    with start(stubs) as run:
        assert run.wait() == 1
        assert run.lines[-1] == "no room for the data"
        assert not run.left_over()


def test_a_signal_ends_the_wait_for_the_emulator(stubs: Path) -> None:
    (stubs / EMULATOR / "__main__.py").write_text(
        "import time; print('asleep', flush=True); time.sleep(3600)"
    )
    with start(stubs) as run:
        run.wait_for_line("asleep")
        signalled = time.monotonic()
        run.signal(signal.SIGTERM)
        assert run.wait() == 0
        assert time.monotonic() - signalled < 8, "less than it waits for an emulator"
        assert not run.left_over()


def test_an_unknown_option_is_one_line_and_status_2(stubs: Path) -> None:
    with start(stubs, "--no-such-thing") as run:
        assert run.wait() == 2
        assert len(run.lines) == 1
        assert "--no-such-thing" in run.lines[0]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_says_how_and_starts_nothing(stubs: Path, option: str) -> None:
    with start(stubs, option) as run:
        assert run.wait() == 0
        assert run.lines[0] == "usage: sh run.sh [--producer | --no-producer]"
        assert "runs:" not in run.output


# run.sh: parts that die


@pytest.mark.parametrize("part", [EMULATOR, PRODUCER, SERVER])
def test_a_part_that_is_killed_is_started_again_and_the_others_go_on(stubs: Path, part: str) -> None:
    with start(stubs) as run:
        others = [part_pid(run, other) for other in (EMULATOR, PRODUCER, SERVER) if other != part]
        os.kill(part_pid(run, part), signal.SIGKILL)
        part_pid(run, part, number=2)
        run.wait_for_line(f"{part} died with status 137; starting it again")
        assert all(psutil.pid_exists(pid) for pid in others)
        assert len([line for line in run.lines if "starting it again" in line]) == 1


def test_what_a_killed_part_had_started_is_ended_before_the_part_starts_again(stubs: Path) -> None:
    with start(stubs) as run:
        pid = part_pid(run, SERVER)
        child = int(run.wait_for_line(f"{SERVER} runs:").split()[3])
        os.kill(pid, signal.SIGKILL)
        part_pid(run, SERVER, number=2)
        wait_for(lambda: not psutil.pid_exists(child), "the killed server's child to be gone")


def test_a_part_that_dies_three_times_ends_the_run_with_its_last_lines(stubs: Path) -> None:
    (stubs / SERVER).write_text("import sys; sys.exit('the port is in use')")
    with start(stubs) as run:
        assert run.wait() == 1
        assert run.lines.count("the port is in use") == 4
        assert run.lines[-2:] == [
            f"run.sh: {SERVER} died three times in ten seconds, the last time with status 1 "
            "and these last lines:",
            "the port is in use",
        ]
        assert not run.left_over()


def test_deaths_far_apart_do_not_end_the_run(stubs: Path) -> None:
    """A `date` that says that a minute passes between any two calls."""
    tools = stubs / "tools"
    tools.mkdir()
    (tools / "date").write_text('#!/bin/sh\necho >>"$0.calls"; echo $(($(wc -l <"$0.calls") * 60))\n')
    (tools / "date").chmod(0o755)
    with start(stubs, PATH=f"{tools}:{os.environ['PATH']}") as run:
        for number in range(1, 5):
            os.kill(part_pid(run, PRODUCER, number), signal.SIGKILL)
        part_pid(run, PRODUCER, 5)
        assert run.running()


# run.sh: how it ends


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_process_behind(stubs: Path, name: str) -> None:
    with start(stubs) as run:
        for part in (EMULATOR, PRODUCER, SERVER):
            part_pid(run, part)
        run.signal(signal.Signals[name])
        assert run.wait() == 0
        assert not run.left_over()


def test_a_signal_at_any_moment_of_the_start_leaves_no_process_behind(stubs: Path) -> None:
    for line in ("no TDengine", "the dashboard", "runs:"):
        with start(stubs) as run:
            run.wait_for_line(line)
            run.signal(signal.SIGTERM)
            assert run.wait() == 0
            assert not run.left_over()


def test_control_c_on_a_terminal_leaves_no_process_behind(stubs: Path) -> None:
    with Terminal(stubs) as terminal:
        for part in (EMULATOR, PRODUCER, SERVER):
            terminal.wait_for(f"{part} runs:")
        terminal.press_control_c()
        assert terminal.wait() == 0
        assert not in_session(terminal.session)


def test_a_closed_terminal_leaves_no_process_behind(stubs: Path) -> None:
    with Terminal(stubs) as terminal:
        for part in (EMULATOR, PRODUCER, SERVER):
            terminal.wait_for(f"{part} runs:")
        terminal.close()
        terminal.wait()
        assert not in_session(terminal.session)


def test_a_part_that_does_not_heed_term_is_killed(stubs: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    (stubs / SERVER).write_text(deaf + STUB)
    with start(stubs) as run:
        part_pid(run, SERVER)
        run.signal(signal.SIGTERM)
        assert run.wait() == 0
        assert not run.left_over()


def test_a_parts_last_words_are_heard(stubs: Path) -> None:
    polite = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit('wrote 300 rows'))\n"
    (stubs / PRODUCER).write_text(polite + STUB)
    with start(stubs) as run:
        part_pid(run, PRODUCER)
        run.signal(signal.SIGTERM)
        run.wait()
        assert "wrote 300 rows" in run.lines


def test_the_emulator_goes_last(stubs: Path) -> None:
    polite = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit('bye from ' + __file__))\n"
    )
    for part in (PRODUCER, SERVER, f"{EMULATOR}/__main__.py"):
        (stubs / part).write_text(polite + STUB)
    with start(stubs) as run:
        for part in (EMULATOR, PRODUCER, SERVER):
            part_pid(run, part)
        run.signal(signal.SIGTERM)
        run.wait()
        byes = [line for line in run.lines if "bye from" in line]
        assert len(byes) == 3
        assert EMULATOR in byes[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_the_parts_end_even_when_run_sh_is_killed_outright(stubs: Path) -> None:
    with start(stubs) as run:
        pids = [part_pid(run, part) for part in (EMULATOR, PRODUCER, SERVER)]
        children = [child.pid for pid in pids for child in psutil.Process(pid).children()]
        run.signal(signal.SIGKILL)
        wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the parts to end")
        for child in children:  # of the stubs, which do not end theirs
            os.kill(child, signal.SIGKILL)


def test_no_temporary_files_stay(stubs: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with start(stubs, TMPDIR=str(temporary)) as run:
        part_pid(run, SERVER)
        assert list(temporary.iterdir())
        run.signal(signal.SIGTERM)
        run.wait()
        assert not list(temporary.iterdir())


# run.sh: the browser


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A folder with an xdg-open that leaves the address it is given in the file `opened` beside it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "xdg-open").write_text('#!/bin/sh\necho "$1" >"$0.partly" && mv "$0.partly" "${0%/*}/opened"\n')
    (tools / "xdg-open").chmod(0o755)
    return tools


@pytest.mark.skipif(sys.platform != "linux", reason="a desktop is known by DISPLAY on Linux")
def test_on_a_desktop_the_page_opens_once_the_server_is_up(stubs: Path, browser: Path) -> None:
    port = free_port()
    serve = (
        f"import socket\nserver = socket.create_server(('127.0.0.1', {port}))\nwhile True: server.accept()\n"
    )
    (stubs / SERVER).write_text(serve)
    path = f"{browser}:{os.environ['PATH']}"
    with Terminal(stubs, DISPLAY=":0", PATH=path, PERSPECTIVE_PORT=str(port)) as terminal:
        opened = wait_for((browser / "opened").read_text, "the browser to be opened")
        assert opened == f"http://localhost:{port}/\n"
        assert answers(port)
        terminal.press_control_c()
        terminal.wait()


def test_without_a_terminal_no_browser_opens(stubs: Path, browser: Path) -> None:
    port = free_port()
    listening = f"import socket; server = socket.create_server(('127.0.0.1', {port}))\n"
    (stubs / SERVER).write_text(listening + STUB)
    path = f"{browser}:{os.environ['PATH']}"
    with start(stubs, DISPLAY=":0", PATH=path, PERSPECTIVE_PORT=str(port)) as run:
        part_pid(run, SERVER)
        os.kill(part_pid(run, PRODUCER), signal.SIGKILL)
        part_pid(
            run, PRODUCER, number=2
        )  # so it looked after its parts, when it would have opened the page too
        assert not (browser / "opened").exists()


# install.sh, on a stub Python that notes what it is asked for

STUB_PYTHON = """#!/bin/sh
# $0 is FOLDER/python or FOLDER/clone/venv/bin/python
case "$*" in
    *ensurepip*) exit "${NO_VENV_MODULE:-0}" ;;
    *version_info*) exit "${TOO_OLD:-0}" ;;
    --version) echo "Python 3.${VERSION:-stub}" ;;
    "-m venv venv") echo "venv" >>"$NOTES" && mkdir -p venv/bin && cp "$0" venv/bin/python ;;
    "-m pip install"*) echo "pip ${*##* }" >>"$NOTES" && exit "${PIP_STATUS:-0}" ;;
esac
"""


class Setup:
    """A clone with install.sh, and the stub Python that it uses."""

    def __init__(self, folder: Path):
        self.clone = folder / "a clone"
        (self.clone / "tests").mkdir(parents=True)
        shutil.copy(ROOT / "install.sh", self.clone)
        (self.clone / "requirements.txt").write_text("tornado==6.0\n")
        (self.clone / "tests" / "requirements.txt").write_text("-r ../requirements.txt\npytest==9.0\n")
        self.python = folder / "python"
        self.python.write_text(STUB_PYTHON)
        self.python.chmod(0o755)
        self._notes = folder / "notes"

    def install(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        env = {**os.environ, "PYTHON": str(self.python), "NOTES": str(self._notes), **settings}
        command = [SHELL, str(self.clone / "install.sh"), *arguments]
        return subprocess.run(command, cwd="/", env=env, capture_output=True, text=True)

    @property
    def notes(self) -> list[str]:
        """What was done since the last look: making venv, and pip's runs with their requirements."""
        notes = self._notes.read_text().splitlines() if self._notes.exists() else []
        self._notes.unlink(missing_ok=True)
        return notes


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_install_makes_venv_and_installs_the_pins_once(setup: Setup) -> None:
    assert setup.install().returncode == 0
    assert setup.notes == ["venv", "pip requirements.txt"]
    again = setup.install()
    assert again.returncode == 0
    assert again.stdout + again.stderr == ""
    assert setup.notes == []


def test_install_says_how_to_go_on_unless_another_script_does(setup: Setup) -> None:
    assert setup.install().stdout.splitlines()[-1] == "Done; now: sh run.sh"
    (setup.clone / "requirements.txt").write_text("tornado==6.1\n")
    assert "now:" not in setup.install("requirements.txt").stdout
    assert "now:" not in setup.install("tests/requirements.txt").stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_installs_help_says_how_and_installs_nothing(setup: Setup, option: str) -> None:
    done = setup.install(option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: sh install.sh [REQUIREMENTS]\n")
    assert setup.notes == []


def test_install_has_no_other_option(setup: Setup) -> None:
    done = setup.install("--upgrade")
    assert done.returncode == 2
    assert done.stderr == "install.sh: no such option: --upgrade (sh install.sh --help says how)\n"
    assert setup.notes == []


def test_a_python_that_is_not_used_is_told(setup: Setup, tmp_path: Path) -> None:
    setup.install()
    assert setup.notes
    newer = tmp_path / "newer"
    newer.write_text(STUB_PYTHON.replace("VERSION:-stub", "VERSION:-newer"))
    newer.chmod(0o755)
    done = setup.install(PYTHON=str(newer))
    assert done.returncode == 0
    assert done.stderr == (
        f"install.sh: PYTHON={newer} is not used, as venv/ has Python 3.stub; remove venv/ to change it\n"
    )
    assert setup.notes == []


def test_changed_pins_are_installed(setup: Setup) -> None:
    setup.install()
    (setup.clone / "requirements.txt").write_text("tornado==6.1\n")
    assert setup.notes == ["venv", "pip requirements.txt"]
    setup.install()
    assert setup.notes == ["pip requirements.txt"]


def test_the_test_tools_have_a_stamp_of_their_own(setup: Setup) -> None:
    setup.install()
    setup.install("tests/requirements.txt")
    assert setup.notes == ["venv", "pip requirements.txt", "pip tests/requirements.txt"]
    setup.install("tests/requirements.txt")
    setup.install()
    assert setup.notes == []
    (setup.clone / "requirements.txt").write_text("tornado==6.1\n")
    setup.install("tests/requirements.txt")
    assert setup.notes == ["pip tests/requirements.txt"]


def test_an_install_that_failed_is_tried_again(setup: Setup) -> None:
    failed = setup.install(PIP_STATUS="1")
    assert failed.returncode == 1
    assert failed.stderr.startswith("install.sh: could not install the packages")
    assert setup.notes == ["venv", "pip requirements.txt"]
    assert setup.install().returncode == 0
    assert setup.notes == ["pip requirements.txt"]


def test_a_venv_without_its_python_is_made_anew(setup: Setup) -> None:
    setup.install()
    assert setup.notes
    (setup.clone / "venv" / "bin" / "python").unlink()
    (setup.clone / "venv" / "bin" / "python").symlink_to("/no/such/python")
    assert setup.install().returncode == 0
    assert setup.notes == ["venv", "pip requirements.txt"]


def test_an_older_python_is_refused_in_one_line(setup: Setup) -> None:
    done = setup.install(TOO_OLD="1")
    assert done.returncode == 1
    assert done.stderr == f"install.sh: PYTHON={setup.python} is not a Python 3.11 or newer\n"
    assert setup.notes == []


def test_no_python_at_all_is_said_in_one_line(setup: Setup, tools_without_python: Path) -> None:
    done = setup.install(PYTHON="", PATH=str(tools_without_python))
    assert done.returncode == 1
    assert done.stderr.startswith("install.sh: needs Python 3.11 or newer, and found none")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["python3", "python3.12", "python"])
def test_python_is_found_under_its_usual_names(setup: Setup, tools_without_python: Path, name: str) -> None:
    shutil.copy(setup.python, tools_without_python / name)
    done = setup.install(PYTHON="", PATH=str(tools_without_python))
    assert done.returncode == 0, done.stderr
    assert setup.notes == ["venv", "pip requirements.txt"]


def test_an_older_python_on_the_path_is_passed_over(setup: Setup, tools_without_python: Path) -> None:
    (tools_without_python / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools_without_python / "python3").chmod(0o755)
    shutil.copy(setup.python, tools_without_python / "python3.13")
    assert setup.install(PYTHON="", PATH=str(tools_without_python)).returncode == 0


def test_a_python_without_venv_is_said_in_one_line(setup: Setup) -> None:
    done = setup.install(NO_VENV_MODULE="1")
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr
    assert done.stderr.count("\n") == 1
    assert setup.notes == []


def test_a_real_venv_is_made_with_a_real_python(setup: Setup) -> None:
    (setup.clone / "requirements.txt").write_text("# nothing, so that nothing is fetched\n")
    done = setup.install(PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "Making venv/ with Python 3" in done.stdout
    venv_python = setup.clone / "venv" / "bin" / "python"
    prefix = subprocess.run(
        [venv_python, "-c", "import pip, sys; print(sys.prefix)"], capture_output=True, text=True
    )
    assert prefix.stdout == f"{setup.clone / 'venv'}\n"
    assert setup.install(PYTHON=sys.executable).stdout == ""


@pytest.fixture
def packages(setup: Setup) -> dict[str, str]:
    """Settings with which pip finds one package, `somewhere`, without a network; the set-up asks for it."""
    (setup.clone / "requirements.txt").write_text("somewhere==1.0\n")
    folder = setup.clone / "packages"
    folder.mkdir()
    info = "somewhere-1.0.dist-info"
    with zipfile.ZipFile(folder / "somewhere-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("somewhere.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: somewhere\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.as_uri()}


def test_packages_go_into_venv_whatever_the_settings_of_pip_say(
    setup: Setup, packages: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    file = f"[global]\nuser = true\nroot = {elsewhere}\n[install]\ntarget: {elsewhere}\nprefix={elsewhere}\n"
    home = tmp_path / "home"
    own = home / ".config" / "pip" / "pip.conf"
    own.parent.mkdir(parents=True)
    own.write_text(file)
    named = tmp_path / "named.conf"
    named.write_text(file)
    venv = setup.clone / "venv"
    for settings in (
        {"PIP_USER": "1"},
        {"PIP_TARGET": elsewhere},
        {"PIP_PREFIX": elsewhere},
        {"PIP_ROOT": elsewhere},
        {"PIP_DRY_RUN": "1"},
        {"PIP_NO_BINARY": ":all:"},
        {"PIP_REQUIRE_VIRTUALENV": "1"},
        {"HOME": str(home), "XDG_CONFIG_HOME": ""},
        {"PIP_CONFIG_FILE": str(named)},
    ):
        done = setup.install(**packages, **settings)
        assert done.returncode == 0, f"{settings}: {done.stderr}"
        found = list(venv.glob("lib/python*/site-packages/somewhere*"))
        assert len(found) == 2, settings
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (venv / "requirements.txt.installed").unlink()
    assert not Path(elsewhere).exists()


def test_nothing_is_built_from_sources(setup: Setup, packages: dict[str, str]) -> None:
    (wheel,) = (setup.clone / "packages").iterdir()
    wheel.unlink()
    built = setup.clone / "built"
    with tarfile.open(wheel.with_name("somewhere-1.0.tar.gz"), "w:gz") as sources:
        for name, text in {"setup.py": f"open({str(built)!r}, 'w')", "PKG-INFO": "Name: somewhere"}.items():
            member = tarfile.TarInfo(f"somewhere-1.0/{name}")
            member.size = len(text)
            sources.addfile(member, io.BytesIO(text.encode()))
    done = setup.install(**packages, PIP_NO_BUILD_ISOLATION="0")  # which, so written, is "with what there is"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("install.sh: could not install the packages")
    assert not built.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="it makes Python take its system for another Linux")
@pytest.mark.parametrize("system", ["another processor", "another C library"])
def test_a_system_without_a_wheel_is_told_in_one_line(
    setup: Setup, packages: dict[str, str], tmp_path: Path, system: str
) -> None:
    (tmp_path / "_manylinux.py").write_text("def manylinux_compatible(*version):\n    return False\n")
    pretended = {
        "another processor": {"_PYTHON_HOST_PLATFORM": "linux-ppc64le"},
        "another C library": {"PYTHONPATH": str(tmp_path)},  # such as Alpine's, or one that is too old
    }
    done = setup.install(**packages, **pretended[system])
    assert done.returncode == 1
    assert done.stderr.startswith("install.sh: perspective-python has no package for CPython 3.")
    assert "glibc 2.28 or newer" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Installing" not in done.stdout


def test_run_sh_sets_up_first(stubs: Path, setup: Setup) -> None:
    """And it ends, starting nothing, where that fails."""
    shutil.rmtree(stubs / "venv")
    with start(stubs, PYTHON=str(setup.python), TOO_OLD="1") as run:
        assert run.wait() == 1
        assert run.lines == [f"install.sh: PYTHON={setup.python} is not a Python 3.11 or newer"]


def test_tests_run_sh_sets_up_and_hands_its_arguments_to_pytest(setup: Setup) -> None:
    shutil.copy(ROOT / "tests" / "run.sh", setup.clone / "tests")
    said = setup.python.read_text().replace("esac", '    "-m pytest"*) pwd && echo "$@" ;;\nesac')
    setup.python.write_text(said)
    chromium = setup.clone / "tools"
    chromium.mkdir()
    (chromium / "chromium").write_text("#!/bin/sh\n")
    (chromium / "chromium").chmod(0o755)
    done = subprocess.run(
        [SHELL, str(setup.clone / "tests" / "run.sh"), "-k", "two words"],
        cwd="/",
        env={
            **os.environ,
            "PYTHON": str(setup.python),
            "NOTES": str(setup.clone / "notes"),
            "PATH": f"{chromium}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        str(setup.clone),
        "-m pytest -n 3 --dist loadfile --no-loadscope-reorder -k two words",
    ]
    notes = (setup.clone / "notes").read_text().splitlines()
    assert notes == ["venv", "pip requirements.txt", "pip tests/requirements.txt"]


# The real parts


def health(port: int) -> dict:
    """What the server on the port says about itself, live or not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return json.load(error)


def is_live(port: int) -> bool:
    answer = health(port)
    assert answer["status"] == "live", answer
    assert answer["rows"] == 1000, answer
    return True


@pytest.mark.emulator_only
def test_one_command_makes_a_live_dashboard_and_control_c_ends_all_of_it(clone: Path) -> None:
    taos_port, port = free_port(), free_port()
    settings = {"TAOS_PORT": str(taos_port), "PERSPECTIVE_PORT": str(port)}
    with Run(clone, **settings) as run:
        run.wait_for_line("starting the emulator there")
        wait_for(lambda: is_live(port), "1,000 live rows", timeout=60)
        assert "emulator" in health(port)["tdengine"]["version"]
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait() == 0, run.output
        assert not run.left_over()
        assert not answers(taos_port)
        assert not answers(port)
        assert re.search(r"^wrote \d+ rows in ", run.output, re.MULTILINE), run.output
        assert "nothing answers" not in run.output
        assert "Traceback" not in run.output


def test_a_killed_server_is_live_again_about_as_soon_as_at_the_start(clone: Path) -> None:
    port = free_port()
    began = time.monotonic()
    with Run(clone, TAOS_PORT=str(free_port()), PERSPECTIVE_PORT=str(port)) as run:
        wait_for(lambda: is_live(port), "1,000 live rows", timeout=60)
        first = time.monotonic() - began
        server = next(child for child in psutil.Process(run.pid).children() if SERVER in child.cmdline())
        server.kill()
        killed = time.monotonic()
        run.wait_for_line(f"{SERVER} died with status 137; starting it again")
        wait_for(lambda: is_live(port), "1,000 live rows again", timeout=60)
        again = time.monotonic() - killed
    print(f"{first:.1f} s at the start, {again:.1f} s again")
    assert again < 2 * first


def test_one_command_shows_the_tdengine_there_is(clone: Path, tdengine: "TDengine", database: str) -> None:
    port = free_port()
    settings = {**tdengine.settings(database), "PERSPECTIVE_PORT": str(port)}
    with Run(clone, "--producer", **settings) as run:
        run.wait_for_line(f"a TDengine or emulator answers on {tdengine.host}:{tdengine.port}: using it")
        wait_for(lambda: is_live(port), "1,000 live rows", timeout=60)
        run.signal(signal.SIGTERM)
        assert run.wait() == 0, run.output
        assert not run.left_over()
        assert not answers(port)
        assert answers(tdengine.port)


def test_a_wrong_password_ends_the_run_and_is_said(clone: Path, tdengine: "TDengine", database: str) -> None:
    settings = {**tdengine.settings(database), "TAOS_PASSWORD": "wrong", "PERSPECTIVE_PORT": str(free_port())}
    with Run(clone, "--producer", **settings) as run:
        assert run.wait(90) == 1
        assert "TAOS_PASSWORD" in run.output.split("died three times")[1], run.output
        assert "Traceback" not in run.output


def test_a_port_in_use_ends_the_run_and_is_said(
    clone: Path, tdengine: "TDengine", database: str, listener: int
) -> None:
    settings = {**tdengine.settings(database), "PERSPECTIVE_PORT": str(listener)}
    with Run(clone, **settings) as run:
        assert run.wait(90) == 1
        assert str(listener) in run.lines[-1], run.output
        assert len(run.lines) == 1, run.output
