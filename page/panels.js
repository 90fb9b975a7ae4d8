// Owns the panels, in their order on the page.

import { Panel } from "./panel.js";

export class Panels {
  #place;
  #panels = [];

  constructor(place) {
    this.#place = place;
  }

  /**
   * Shows a panel for each of {config, faults}, and resolves when all are drawn. A panel that can't be drawn says why,
   * and leaves the others alone; where the connection is lost meanwhile, all keep what they show.
   */
  async show(connection, table, facts, wanted) {
    while (this.#panels.length > wanted.length) this.#panels.pop().remove();
    while (this.#panels.length < wanted.length) this.#panels.push(new Panel(this.#place));
    await Promise.all(this.#panels.map((panel, index) => panel.show(connection, table, facts, wanted[index])));
  }

  async adapt(configs, time) {
    for (const [index, panel] of this.#panels.entries()) await panel.adapt(configs[index], time);
  }

  async changeTheme() {
    for (const panel of this.#panels) await panel.changeTheme();
  }

  /** The viewers' configurations, as they are now, to be shown again some day. */
  save() {
    return Promise.all(this.#panels.filter((panel) => panel.isDrawn).map((panel) => panel.saveForLater()));
  }
}
