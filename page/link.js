// Owns links: what the address says of the viewers' arrangement, and copying an address that says it.

import { checkLink } from "./allowed.js";
import { element } from "./dom.js";
import { changeHash, partOfHash } from "./hash.js";
import { pack, unpack } from "./packing.js";
import { addressOf, dashboardInAddress } from "./server.js";
import { writeForLayout } from "./timespan.js";
import { sleep } from "./waiting.js";

const PART = "view"; // of the address
const TABLE = "table"; // another one
const TOLD_FOR = 2000; // ms

export class Link {
  viewers = []; // what each is to have other than the page's own, or null
  table = partOfHash(TABLE); // which the dashboard had that it was made of
  problem = null; // why the address was not read
  #text = partOfHash(PART);
  #shown = null; // the table that this dashboard has
  #button;
  #field = element("#link");

  constructor(button) {
    this.#button = button;
    addEventListener("hashchange", () => this.#readAnew());
    this.#field.addEventListener("blur", () => (this.#field.hidden = true));
  }

  async read() {
    if (this.#text === null) return;
    try {
      const link = await unpack(this.#text);
      checkLink(link);
      this.viewers = link.viewers;
    } catch (error) {
      this.problem = whyNotAsLinked(error);
    }
  }

  /** Has links say that the dashboard is one of that table. */
  isOf(table) {
    this.#shown = table;
  }

  /** Offers to copy a link to what `panels` show at the time of `choice`. */
  offer({ panels, choice, state }) {
    this.#button.addEventListener("click", async () => {
      this.#button.disabled = true;
      try {
        const { dashboards = [] } = state.health;
        await this.#copy(await panels.arrangements(), writeForLayout(choice.now), dashboards);
      } finally {
        this.#button.disabled = false;
      }
    });
  }

  async #copy(viewers, time, dashboards) {
    this.#text = viewers.some(Boolean) ? await pack({ version: 1, viewers }) : null;
    const address = dashboards.length > 1 ? addressOf(dashboardInAddress() || dashboards[0]) : new URL(location);
    address.hash = changeHash(location.hash, { time, [TABLE]: encodeURIComponent(this.#shown), [PART]: this.#text });
    history.replaceState(null, "", address);
    try {
      await navigator.clipboard.writeText(address.href);
      await this.#tell("Link copied");
    } catch {
      // The browser gives the clipboard to pages of https or of localhost alone.
      Object.assign(this.#field, { value: address.href, hidden: false });
      this.#field.focus();
      this.#field.select();
    }
  }

  async #tell(text) {
    const before = this.#button.textContent;
    this.#button.textContent = text;
    await sleep(TOLD_FOR);
    this.#button.textContent = before;
  }

  /** Another link than the one that is shown is opened in the same tab. */
  #readAnew() {
    const text = partOfHash(PART);
    if (text !== null && text !== this.#text) location.reload();
  }
}

function whyNotAsLinked({ message }) {
  return `the link can't be read: ${message.split("\n")[0].slice(0, 200)}; so this is the page's own dashboard`;
}
