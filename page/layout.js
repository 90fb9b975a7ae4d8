// Owns layouts as files: the one that the server has in store (PERSPECTIVE_LAYOUT), and the one to download.

import { fit } from "./fit.js";
import { sleep } from "./waiting.js";

/** The layout that the server has in store, or null. */
export async function askLayout(server) {
  const response = await server.ask("layout");
  return response.ok ? response.json() : null;
}

/** The layout as far as it fits the table, or null. */
export async function fitLayout(layout, table, schema) {
  if (!layout) return null;
  const fitting = layout.map((config, index) => namingViewer(index, fit(config, table, schema)));
  const shown = (await Promise.all(fitting)).filter((config) => config !== null);
  return shown.length > 0 ? shown : null;
}

/** What the promise brings; an error tells which viewer of the layout it is about. */
export async function namingViewer(index, promise) {
  try {
    return await promise;
  } catch (error) {
    throw new Error(`viewer ${index + 1} of PERSPECTIVE_LAYOUT: ${error.message}`);
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
