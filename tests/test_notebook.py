"""The notebook, run as Jupyter runs it: its widgets bring the live table and the look back to the browser."""

import asyncio
from collections.abc import Iterator

import nbclient
import nbformat
import pytest
from conftest import TDengine
from support import ROOT
from test_end_to_end import Server, serving
from test_mirror import Source

# What the browser's part of a widget does: asks over the widget's messages, and draws what comes.
BROWSER = """
async def look(widget, **config):
    sent = []
    widget.send = lambda content, buffers=None: sent.append(bytes(buffers[0]))
    widget.handle_message(widget, {"type": "connect", "client_id": "test"}, [])

    async def ask(request):
        widget.handle_message(widget, {"type": "binary_msg", "client_id": "test"}, [bytes(request)])

    browser = perspective.AsyncClient(ask)

    async def hand_on():
        while True:
            while sent:
                await browser.handle_response(sent.pop(0))
            await asyncio.sleep(0.01)

    listening.add(asyncio.create_task(hand_on()))
    table = await browser.open_table(widget.table_name)
    names = ("columns", "group_by", "split_by", "group_rollup_mode", "aggregates", "expressions")
    return await table.view(**{name: getattr(widget, name) for name in names}, **config)


shown = await look(live)
moved = asyncio.Event()
await shown.on_update(lambda *_: moved.set())
print("live", await shown.to_json())
await asyncio.wait_for(moved.wait(), 60)
print("moved")
print("past", await (await look(history)).to_json())
"""


@pytest.fixture
def server(tdengine: TDengine) -> Iterator[Server]:
    source = Source(tdengine)
    source.insert("d0", [(source.clock(), 3.0, 220, 0.5)])
    with serving(source.server.settings(source.database)) as running:
        running.wait_until_live(rows=1)
        running.source = source
        yield running
    source.close()


def test_the_notebook_shows_the_live_table_and_the_history(server: Server) -> None:
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it comes without what somebody saw"
    settings = next(cell for cell in notebook.cells if "SERVER = " in cell.source)
    settings.source = settings.source.replace("localhost:8080", f"localhost:{server.port}")
    notebook.cells.append(nbformat.v4.new_code_cell(BROWSER))

    async def write() -> None:
        """Readings that come in meanwhile."""
        current = 10.0
        while True:
            current += 1
            await asyncio.to_thread(server.source.insert, "d0", [(server.source.clock(), current, 220, 0.5)])
            await asyncio.sleep(0.3)

    async def run() -> None:
        writing = asyncio.create_task(write())
        await nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").async_execute()
        writing.cancel()

    asyncio.run(run())
    *_, live, _, history, _, in_python, browser = notebook.cells
    for widget in (live, history):
        assert "application/vnd.jupyter.widget-view+json" in widget.outputs[-1].data
    assert "here" in in_python.outputs[0].text
    said = "".join(output.text for output in browser.outputs).splitlines()
    assert [line.partition(" ")[0] for line in said] == ["live", "moved", "past"]
    assert "'current': " in said[0]
    assert "here|current" in said[2]
