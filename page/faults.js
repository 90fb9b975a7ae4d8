// Owns saying what of a panel is not shown, and why.

import { LIVE } from "./timespan.js";

export function describeFaults(faults) {
  if (faults.length === 0) return "";
  const reasons = faults.map((fault) => fault.replace(/^Abort\(\): /, "")); // which Perspective's Client puts there
  return `not shown as arranged: ${[...new Set(reasons)].join("; ")}`;
}

/** What the server has against a workspace's views; null where nothing, so that the viewer failed by itself. */
export async function whyNot(table, workspace) {
  for (const config of Object.values(workspace.panels)) {
    try {
      const { columns, group_by, split_by, sort, filter, aggregates, expressions } = config;
      const view = await table.view({ columns, group_by, split_by, sort, filter, aggregates, expressions });
      await view.delete();
    } catch (error) {
      return error.message;
    }
  }
  return null;
}

/** Where nothing is drawn, so that what is seen is what was there before. */
export function describeFailure(faults, timespan) {
  const text = describeFaults(faults);
  return timespan === LIVE ? text : text.replace("not shown as arranged", `not shown (${timespan.words})`);
}
