// Owns layouts as files: the one that the server has in store (PERSPECTIVE_LAYOUT), and the one to download.

import { fit } from "./fit.js";
import { dashboardInAddress } from "./server.js";
import { sleep } from "./waiting.js";

/** The layout that the server has in store, or null. Throws an Error for one that is none. */
export async function askLayout(server) {
  const name = dashboardInAddress();
  const response = await server.ask(name ? `layout?name=${encodeURIComponent(name)}` : "layout");
  const answer = await response.json();
  if (answer?.problem) throw new Error(answer.problem);
  return answer;
}

/**
 * The layout as far as it fits the table, {config, faults} for each viewer; null where nothing of it fits, unless it is
 * wanted as a whole all the same.
 */
export async function fitLayout(layout, table, schema, { isWhole = false } = {}) {
  if (!layout) return null;
  const fitting = await Promise.all(layout.map((config) => fitViewer(config, table, schema)));
  return isWhole || fitting.some(({ config }) => config) ? fitting : null;
}

/** What the server finds too much of one viewer leaves the others alone. */
async function fitViewer(config, table, schema) {
  try {
    return await fit(config, table, schema);
  } catch (error) {
    return { config: null, faults: [error.message] };
  }
}

/** Saves the viewers' configurations as a file for PERSPECTIVE_LAYOUT. */
export async function downloadLayout(layout) {
  const file = new Blob([JSON.stringify(layout, null, 2), "\n"], { type: "application/json" });
  const href = URL.createObjectURL(file);
  Object.assign(document.createElement("a"), { href, download: "layout.json" }).click();
  await sleep(1000); // the browser reads it meanwhile
  URL.revokeObjectURL(href);
}
