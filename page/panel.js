// Owns one panel: its section and viewer, what the page made of it, and what its user made of it instead.

import { fitWorkspace } from "./fit.js";
import { makeSettingsReachable } from "./keyboard.js";
import { themeFor } from "./theme.js";
import { filterAnew, retitle } from "./timeline.js";

export class Panel {
  #section = document.createElement("section");
  #viewer = null;
  #filters = []; // the page's own: of now and, while it is changed, of before
  #config = null; // the page's own configuration of it,
  #own = null; // and what the viewer made of that
  #arranged = null; // what its user made of it instead, if so: the viewer's workspace
  #schema = null; // the table's when the viewer was made
  #isChanging = false;
  #fault = Object.assign(document.createElement("p"), { className: "fault", role: "status", hidden: true });
  #retry = null; // draws the panel once more, where that failed

  constructor(place) {
    makeSettingsReachable(this.#section);
    this.#section.append(this.#fault);
    place.append(this.#section);
  }

  get isDrawn() {
    return this.#viewer !== null;
  }

  /** Draws the panel, and says in it what of {config, faults} can't be drawn. */
  async show(connection, table, facts, { config, faults }) {
    this.#retry = null;
    try {
      if (config) await this.#draw(connection.client, table, facts, config);
      else this.#removeViewer();
      this.#say(faults);
    } catch (error) {
      if (connection.isOver) throw error;
      this.#say([...faults, error.message]);
      this.#retry = () => this.show(connection, table, facts, { config, faults });
    }
  }

  #say(faults) {
    this.#fault.textContent = describeFaults(faults);
    this.#fault.hidden = faults.length === 0;
  }

  #removeViewer() {
    this.#viewer?.remove();
    this.#viewer?.delete();
    this.#viewer = null;
  }

  /** Puts a new viewer into the panel, arranged as its user left the one before, as far as that fits. */
  async #draw(client, table, facts, config) {
    this.#noteFilters(config);
    if (this.#arranged) {
      try {
        const arranged = this.#withFilterOf(config, this.#arranged);
        const workspace = await fitWorkspace(arranged, table, facts.schema, this.#schema);
        if (workspace) return await this.#replaceViewer(client, facts, config, withThemes(workspace));
      } catch (error) {
        console.warn(error);
      }
    }
    await this.#replaceViewer(client, facts, config, null);
  }

  /** Changes what the page itself wrote; of what the user arranged only the rows left out, and the time told. */
  async adapt(config, time) {
    if (this.#retry) return this.#retry();
    if (!this.isDrawn) return;
    this.#noteFilters(config);
    const isNew = (name) => canonical(config[name]) !== canonical(this.#config[name]);
    let changes = Object.fromEntries(Object.entries(config).filter(([name]) => isNew(name)));
    if (this.#arranged) {
      if (changes.filter) await this.#rearrange(this.#withFilterOf(config, await this.#viewer.saveWorkspace()));
      const saved = await this.save();
      const { title } = retitle(saved, time);
      changes = title === saved.title ? {} : { title };
    } else if (changes.plugin) {
      changes = config; // another plugin begins with settings of its own
    }
    if (Object.keys(changes).length > 0) await this.#change(changes);
    this.#config = config;
  }

  async changeTheme() {
    const { theme } = (await this.#viewer?.save()) ?? {};
    if (theme && theme !== themeFor(theme)) await this.#change({ theme: themeFor(theme) });
  }

  /** The viewer's configuration, as it is now. */
  save() {
    return this.#viewer.save();
  }

  /** The same without what is so at the moment alone: which rows the page leaves out. */
  async saveForLater() {
    return filterAnew(await this.save(), this.#filters, []);
  }

  remove() {
    this.#section.remove();
    this.#viewer?.delete();
  }

  /** The viewer before stays in sight until the new one is drawn. */
  async #replaceViewer(client, facts, config, workspace) {
    const viewer = document.createElement("perspective-viewer");
    viewer.className = "arriving";
    this.#section.append(viewer);
    let own = null;
    try {
      await viewer.load(client);
      if (workspace) await viewer.restoreWorkspace(workspace);
      else await viewer.restore({ ...config, table: facts.name, theme: themeFor(config.theme) });
      await configureColumns(viewer, workspace?.panels[viewer.getActivePanel()] ?? config);
      if (!workspace) own = canonical(await viewer.saveWorkspace());
    } catch (error) {
      viewer.remove();
      throw error;
    }
    viewer.addEventListener("perspective-config-update", () => this.#noteArrangement());
    viewer.classList.remove("arriving");
    this.#removeViewer();
    this.#viewer = viewer;
    this.#config = config;
    this.#own = own;
    this.#arranged = workspace;
    this.#schema = facts.schema;
    await this.#nameSection();
  }

  /** Remembers what the user made of the panel, if it is not what the page itself made of it. */
  async #noteArrangement() {
    const workspace = await this.#viewer.saveWorkspace();
    await this.#nameSection();
    if (this.#isChanging) return;
    if (!this.#arranged && canonical(workspace) === this.#own) return;
    this.#arranged = workspace;
    this.#say([]); // its user sees to it now
  }

  async #nameSection() {
    this.#section.ariaLabel = (await this.save()).title ?? "";
  }

  #noteFilters({ filter = [] }) {
    this.#filters = [...(this.#config?.filter ?? []), ...filter];
  }

  /** A workspace of the viewer in which the page's filter is that of another configuration of the panel. */
  #withFilterOf({ filter = [] }, workspace) {
    const before = this.#config.filter ?? [];
    return mapPanels(workspace, (panel) => filterAnew(panel, before, filter));
  }

  #change(changes) {
    return this.#act(async () => {
      await this.#viewer.restore(changes);
      if (changes.expressions) await configureColumns(this.#viewer, changes);
    });
  }

  #rearrange(workspace) {
    return this.#act(() => this.#viewer.restoreWorkspace(workspace));
  }

  /** Changes the viewer so that it does not pass for its user's arrangement. */
  async #act(act) {
    this.#isChanging = true;
    try {
      await act();
      const workspace = await this.#viewer.saveWorkspace();
      if (this.#arranged) this.#arranged = workspace;
      else this.#own = canonical(workspace);
    } finally {
      this.#isChanging = false;
    }
  }
}

function describeFaults(faults) {
  if (faults.length === 0) return "";
  const reasons = faults.map((fault) => fault.replace(/^Abort\(\): /, "")); // which Perspective's Client puts there
  return `not shown as arranged: ${reasons.join("; ")}`;
}

/** Restores what `restore` dropped: what was configured for an expression's column, before there was one. */
async function configureColumns(viewer, { columns_config = {} }) {
  const saved = await viewer.save();
  if (canonical(saved.columns_config) !== canonical(columns_config)) await viewer.restore({ columns_config });
}

function withThemes(workspace) {
  return mapPanels(workspace, (config) => ({ ...config, theme: themeFor(config.theme) }));
}

function mapPanels(workspace, change) {
  const panels = Object.entries(workspace.panels).map(([name, config]) => [name, change(config)]);
  return { ...workspace, panels: Object.fromEntries(panels) };
}

/** A value's JSON with the keys in order, for comparing. */
function canonical(value) {
  const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);
  const sorted = (_, value) => (isObject(value) ? Object.fromEntries(Object.entries(value).sort()) : value);
  return JSON.stringify(value, sorted);
}
