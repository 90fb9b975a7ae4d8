// Owns loading Perspective: its library, its stylesheet, its Client.

import { pauseAfter, sleep } from "./waiting.js";

/**
 * Loads Perspective from the server, which has it in the very version that it speaks itself. Returns the class
 * Client that the viewers use.
 */
export async function loadPerspective(server, state) {
  const library = await untilItWorks(state, (attempt) => {
    // A browser may remember a failed import as long as the page lives: each attempt has an address of its own.
    const query = attempt ? `?attempt=${attempt}` : "";
    return import(server.url(`perspective/perspective-anywidget.js${query}`));
  });
  await untilItWorks(state, () => loadStylesheet(server.url("perspective/perspective-anywidget.css")));
  await library.ready;
  await customElements.whenDefined("perspective-viewer");
  return customElements.get("perspective-viewer").__wasm_module__.Client;
}

/** Does it again until it works; not before the server answers. */
async function untilItWorks(state, action) {
  for (let attempt = 0; ; attempt++) {
    while (!state.answering) await sleep(100);
    try {
      return await action(attempt);
    } catch (error) {
      console.warn(error);
      await sleep(pauseAfter(attempt));
    }
  }
}

function loadStylesheet(href) {
  return new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
    link.onload = resolve;
    link.onerror = () => reject(new Error(`no answer for ${href}`));
    document.head.append(link);
  });
}
