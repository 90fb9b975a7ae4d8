// Owns the keyboard: what a viewer alone leaves to the mouse, and the space key.

const TAKES_SPACE = "input, textarea, select, button, a, summary, [contenteditable], .psp-tab-settings, #settings_panel";

/** Makes a viewer's settings reachable: its button takes no keys, and its fields keep Tab. */
export function makeSettingsReachable(section) {
  section.addEventListener("keydown", openSettings, { capture: true });
}

/** Lets Escape close settings, and the page show where the focus is while keys are used. */
export function listenToKeys() {
  addEventListener("keydown", closeSettings, { capture: true });
  addEventListener("keydown", () => document.body.classList.add("by-keyboard"));
  addEventListener("pointerdown", () => document.body.classList.remove("by-keyboard"));
}

/** Lets the space key press a button, unless what has the focus takes that key itself. */
export function pressBySpace(button) {
  addEventListener("keydown", (event) => {
    const isPlain = event.key === " " && !(event.ctrlKey || event.altKey || event.metaKey || event.shiftKey);
    const isTaken = event.composedPath().some((element) => element.matches?.(TAKES_SPACE));
    if (!isPlain || isTaken || event.defaultPrevented || button.hidden) return;
    event.preventDefault(); // or the page would scroll
    if (!event.repeat) button.click();
  });
}

async function openSettings(event) {
  const isOnButton = event.composedPath()[0].matches(".psp-tab-settings");
  if (event.key === "Tab") {
    event.stopPropagation();
  } else if (isOnButton && ["Enter", " "].includes(event.key)) {
    event.preventDefault();
    const viewer = event.currentTarget.querySelector("perspective-viewer");
    await viewer.toggleConfig(true);
    viewer.shadowRoot.querySelector("#settings_panel :is(select, input)")?.focus(); // the button is gone
  }
}

/** Closes the settings that have the focus; where none have it, as after a click on a label, all. */
async function closeSettings(event) {
  if (event.key !== "Escape") return;
  const open = [...document.querySelectorAll("perspective-viewer[settings]")];
  const focused = open.filter((viewer) => viewer.contains(document.activeElement));
  for (const viewer of focused.length > 0 ? focused : open) {
    await viewer.toggleConfig(false);
    viewer.querySelector("perspective-viewer-tab")?.shadowRoot.querySelector(".psp-tab-settings")?.focus();
  }
}
