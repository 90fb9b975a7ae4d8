// Owns the menu of dashboards, where the server has several.

import { addressOf, dashboardInAddress } from "./server.js";

/** Shows the `names` in a menu, and which of them the page shows; nothing where there is one. */
export function showDashboards(menu, names = []) {
  menu.hidden = names.length < 2;
  const shown = [...menu.children].map(({ textContent }) => textContent);
  if (menu.hidden || JSON.stringify(shown) === JSON.stringify(names)) return;
  menu.replaceChildren(...names.map((name) => linkTo(name, name === (dashboardInAddress() || names[0]))));
}

function linkTo(name, isShown) {
  const link = Object.assign(document.createElement("a"), { textContent: name, href: addressOf(name) });
  if (isShown) link.ariaCurrent = "page";
  link.addEventListener("click", () => (link.href = addressOf(name))); // at the time that is chosen now
  return link;
}
