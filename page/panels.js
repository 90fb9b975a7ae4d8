// Owns the panels, in their order on the page.

import { Panel } from "./panel.js";

export class Panels {
  #place;
  #panels = [];

  constructor(place) {
    this.#place = place;
  }

  /** Has as many panels as are wanted; those that are there stay. */
  resize(count) {
    while (this.#panels.length > count) this.#panels.pop().remove();
    while (this.#panels.length < count) this.#panels.push(new Panel(this.#place));
  }

  map(action) {
    return this.#panels.map(action);
  }

  some(condition) {
    return this.#panels.some(condition);
  }

  /** Does it to all panels at once, and resolves when it is done to each. */
  async each(action) {
    await Promise.all(this.#panels.map(action));
  }

  async changeTheme() {
    for (const panel of this.#panels) await panel.changeTheme();
  }

  /** What each of them is other than the page made it, or null. */
  arrangements() {
    return Promise.all(this.#panels.map((panel) => panel.arrangement()));
  }

  /** The viewers' configurations, as they are now, to be shown again some day. */
  save() {
    return Promise.all(this.#panels.filter((panel) => panel.isDrawn).map((panel) => panel.saveForLater()));
  }
}
