// Owns one panel: its section and viewer, what the page made of it, and what its user made of it instead.

import { makeDifferent, tellDifference } from "./difference.js";
import { describeFailure, describeFaults, whyNot } from "./faults.js";
import { fitWorkspace } from "./fit.js";
import { makeSettingsReachable } from "./keyboard.js";
import { themeFor } from "./theme.js";
import { describeTime, filterAnew, retime, retitle } from "./timeline.js";
import { LIVE, writeForLayout } from "./timespan.js";
import { sleep } from "./waiting.js";
import { canonical, isAlike, mapPanels, withoutSettings } from "./workspace.js";

const LAST_DRAWING = 2000; // ms that a viewer has which is to go

export class Panel {
  #wanted = null; // the source that it is to show
  source = null; // what its viewer shows: {connection, table, facts, timespan}
  leaving = Promise.resolve(); // until the viewer before is gone
  #section = document.createElement("section");
  #viewer = null;
  #filters = []; // the page's own: of now and, while it is changed, of before
  #connection = null; // on which the viewer is
  #config = null; // the page's own configuration of it,
  #own = null; // and what the viewer made of that,
  #made = null; // when it showed a table of {schema, timespan}
  #arranged = null; // what its user made of it instead, if so: the viewer's workspace
  #seen = null; // the viewer's workspace when one last looked
  #kept = null; // the same as {workspace, schema, config} before something of it was left out here
  #linked = null; // what a link says that it is to have other than the page's own, until that is drawn
  #turns = 0; // how often it has been shown: only the newest counts
  #isChanging = false;
  #changing = Promise.resolve(); // until the page has changed it
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

  /** Draws the panel, unless it shows that source; and says in it what of {config, faults} can't be drawn. */
  async show(source, wanted) {
    if (this.#wanted === source) return; // or it is about to
    this.#wanted = source;
    if (this.source !== source || this.#retry) return this.#show(source, wanted);
    this.#turns++;
    this.#section.classList.remove("of-before");
  }

  /** Shown anew meanwhile, it leaves that be. */
  async #show(source, { config, faults }) {
    const turn = ++this.#turns;
    const isNewest = () => turn === this.#turns;
    const isOther = this.source !== null && this.source.timespan.key !== source.timespan.key;
    this.#retry = null;
    this.#section.classList.toggle("of-before", isOther && this.isDrawn);
    try {
      if (!config) this.#removeViewer();
      const leftOut = config ? await this.#draw(source, config, isNewest) : [];
      if (isNewest()) this.#say(describeFaults([...faults, ...leftOut]));
    } catch (error) {
      if (source.connection.isOver) throw error;
      if (!isNewest()) return;
      this.#say(describeFailure([...faults, error.message], source.timespan));
      this.#retry = () => this.#show(source, { config, faults });
    }
    if (isNewest()) this.source = source;
    if (isNewest() && !this.#retry) this.#section.classList.remove("of-before");
  }

  /** Says what it waits for, before there is anything to draw. */
  wait(text) {
    this.#say(text);
  }

  #say(text) {
    this.#fault.textContent = text;
    this.#fault.hidden = text === "";
  }

  #removeViewer() {
    if (this.#viewer) this.#letGo(this.#viewer, this.#connection);
    this.#viewer = null;
  }

  /** A viewer goes when it is not drawing any more: updates that reach it then would have it draw what is gone. */
  #letGo(viewer, { isOver, client, updates }) {
    viewer.classList.add("leaving");
    const drawn = async () => {
      await viewer.flush();
      await updates.quiet();
      await viewer.flush();
    };
    const go = async () => {
      if (!isOver) await Promise.race([drawn().catch(() => {}), sleep(LAST_DRAWING)]);
      viewer.delete().catch(() => {}); // it gives back what it had, unless the connection is gone
      viewer.remove();
    };
    const gone = isOver ? go() : updates.hold(client, go);
    this.leaving = Promise.all([this.leaving, gone]);
  }

  /**
   * Puts a new viewer into the panel, arranged as its user left the one before, as far as that fits. Returns what of
   * that had to be left out, and why.
   */
  async #draw(source, config, isNewest) {
    const { table, facts } = source;
    await this.#noteWhatIsArrangedJustNow();
    this.#noteFilters(config);
    const kept = this.#kept ?? this.#asLinked(source, config) ?? (this.#arranged && { ...this.#made, config: this.#config, workspace: this.#arranged });
    if (!kept) {
      await this.#replaceViewer(source, config, null, isNewest);
      return [];
    }
    const arranged = this.#atTimeOf(source, config, kept);
    const { workspace, faults } = await fitWorkspace(arranged, table, facts.schema, kept.schema);
    const reason = workspace ? await this.#tryWorkspace(source, config, withThemes(workspace), isNewest) : null;
    if (reason) faults.push(reason);
    if (this.#linked && this.#linked.table !== source.name) faults.unshift(`the link is to the table ${this.#linked.table}`);
    if (reason || !workspace) await this.#replaceViewer(source, config, null, isNewest);
    this.#kept = faults.length > 0 ? kept : null;
    this.#linked = null;
    return faults;
  }

  #asLinked({ facts, timespan }, config) {
    if (!this.#linked) return null;
    return { schema: facts.schema, timespan, config, workspace: makeDifferent(this.#linked, config, facts.filter) };
  }

  /** Returns why the workspace can't be had; null if it is shown. */
  async #tryWorkspace(source, config, workspace, isNewest) {
    for (let isLast = false; ; isLast = true) {
      try {
        await this.#replaceViewer(source, config, workspace, isNewest);
        return null;
      } catch (error) {
        if (source.connection.isOver || !isNewest()) throw error;
        console.info(error);
        const reason = await whyNot(source.table, workspace);
        if (reason || isLast) return reason ?? error.message;
      }
    }
  }

  /** What its user arranged, with the page's filter and, where it is to be shown at another time, that one's steps. */
  #atTimeOf({ facts, timespan }, { filter = [] }, kept) {
    const before = kept.config.filter ?? [];
    if (timespan.key === kept.timespan.key) return mapPanels(kept.workspace, (panel) => filterAnew(panel, before, filter));
    const time = { ...describeTime(facts), filter };
    return mapPanels(kept.workspace, (panel) => retime(panel, before, time));
  }

  /** Changes what the page itself wrote; of what the user arranged only the rows left out, and the time told. */
  async adapt(config, time) {
    const { source } = this;
    if (this.#retry) return this.#retry();
    if (!this.isDrawn) return;
    await this.#noteArrangement(this.#viewer);
    if (this.source !== source) return;
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
    if (this.source === source) this.#config = config;
  }

  async changeTheme() {
    const { theme } = (await this.#viewer?.save()) ?? {};
    if (theme && theme !== themeFor(theme)) await this.#change({ theme: themeFor(theme) });
  }

  /** The viewer's configuration, as it is now. */
  save() {
    return this.#viewer.save();
  }

  /** The same without what is so at the moment alone, which rows the page leaves out; and the time that it looks at. */
  async saveForLater() {
    const config = filterAnew(await this.save(), this.#filters, []);
    const { timespan } = this.#made;
    return timespan === LIVE ? config : { ...config, time: writeForLayout(timespan) };
  }

  /** What its user made of it other than the page did, for a link; null where it is as the page made it. */
  async arrangement() {
    await this.#noteWhatIsArrangedJustNow();
    if (!this.#arranged) return null;
    const { name, facts } = this.source;
    return { table: name, ...tellDifference(this.#arranged, this.#config, facts.filter) };
  }

  /** Has it drawn as a link says, the first time that it is. */
  arrange(linked) {
    this.#linked = linked;
  }

  remove() {
    this.#section.remove();
    this.#removeViewer();
  }

  /** The viewer before stays in sight until the new one is drawn. */
  async #replaceViewer(source, config, workspace, isNewest) {
    const { connection, facts } = source;
    const viewer = document.createElement("perspective-viewer");
    viewer.className = "arriving";
    this.#section.append(viewer);
    const isOpen = this.#viewer?.hasAttribute("settings");
    let made = null;
    try {
      await viewer.load(connection.client);
      if (workspace) await viewer.restoreWorkspace(workspace);
      else await viewer.restore({ ...config, table: facts.name, theme: themeFor(config.theme) });
      await configureColumns(viewer, workspace?.panels[viewer.getActivePanel()] ?? config);
      if (isOpen) await viewer.toggleConfig(true);
      made = await viewer.saveWorkspace();
      if (!isNewest()) throw new Error("shown anew meanwhile");
    } catch (error) {
      this.#letGo(viewer, connection);
      throw error;
    }
    viewer.addEventListener("perspective-config-update", () => this.#noteArrangement(viewer));
    viewer.classList.remove("arriving");
    this.#removeViewer();
    this.#viewer = viewer;
    this.#connection = connection;
    this.#config = config;
    this.#own = workspace ? null : canonical(made);
    this.#arranged = workspace ? made : null;
    this.#seen = made;
    this.#made = { schema: facts.schema, timespan: source.timespan };
    this.source = source;
    await this.#nameSection();
  }

  /** Remembers what the user made of the panel, if it is not what the page itself made of it. */
  async #noteArrangement(viewer) {
    const workspace = await viewer.saveWorkspace();
    if (viewer !== this.#viewer) return;
    await this.#nameSection();
    if (this.#isChanging) return;
    if (!this.#arranged && canonical(workspace) === this.#own) return;
    const isAsBefore = canonical(withoutSettings(workspace)) === canonical(withoutSettings(this.#seen));
    this.#seen = workspace;
    if (this.#kept && isAsBefore) return; // what was left out is left out still
    this.#arranged = workspace;
    this.#kept = null;
    this.#say(""); // its user sees to it now
  }

  /** The viewer tells of it late, and not while the page itself changes it; without a connection it may never. */
  async #noteWhatIsArrangedJustNow() {
    if (!this.#viewer || this.#connection.isOver) return;
    const noted = this.#changing.catch(() => {}).then(() => this.#viewer && this.#noteArrangement(this.#viewer));
    await Promise.race([noted, sleep(LAST_DRAWING)]);
  }

  async #nameSection() {
    const viewer = this.#viewer;
    const { title } = await viewer.save();
    if (viewer === this.#viewer) this.#section.ariaLabel = title ?? ""; // else another one has come meanwhile
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
    return this.#act(Object.keys(changes), async () => {
      await this.#viewer.restore(changes);
      if (changes.expressions) await configureColumns(this.#viewer, changes);
    });
  }

  #rearrange(workspace) {
    return this.#act(["filter", "title"], () => this.#viewer.restoreWorkspace(workspace));
  }

  /** Changes those fields of the viewer so that it does not pass for its user's arrangement, unless he does it, too. */
  #act(fields, act) {
    this.#changing = this.#changeWith(fields, act);
    return this.#changing;
  }

  async #changeWith(fields, act) {
    const viewer = this.#viewer;
    const before = this.#seen;
    this.#isChanging = true;
    try {
      await act();
      const workspace = await viewer.saveWorkspace();
      if (viewer !== this.#viewer) return;
      this.#seen = workspace;
      if (this.#arranged || !isAlike(before, workspace, fields)) this.#arranged = workspace;
      else this.#own = canonical(workspace);
    } finally {
      this.#isChanging = false;
    }
  }
}

/** Restores what `restore` dropped: what was configured for an expression's column, before there was one. */
async function configureColumns(viewer, { columns_config = {} }) {
  const saved = await viewer.save();
  if (canonical(saved.columns_config) !== canonical(columns_config)) await viewer.restore({ columns_config });
}

function withThemes(workspace) {
  return mapPanels(workspace, (config) => ({ ...config, theme: themeFor(config.theme) }));
}
