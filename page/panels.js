// Owns the panels, in their order on the page.

import { Panel } from "./panel.js";

export class Panels {
  #place;
  #panels = [];

  constructor(place) {
    this.#place = place;
  }

  /** Shows a panel for each configuration: a promise for each, which is kept when the panel is drawn. */
  show(client, table, facts, configs) {
    while (this.#panels.length > configs.length) this.#panels.pop().remove();
    while (this.#panels.length < configs.length) this.#panels.push(new Panel(this.#place));
    return this.#panels.map((panel, index) => panel.show(client, table, facts, configs[index]));
  }

  async adapt(configs, time) {
    for (const [index, panel] of this.#panels.entries()) await panel.adapt(configs[index], time);
  }

  async changeTheme() {
    for (const panel of this.#panels) await panel.changeTheme();
  }

  /** The viewers' configurations, as they are now, to be shown again some day. */
  save() {
    return Promise.all(this.#panels.map((panel) => panel.saveForLater()));
  }
}
