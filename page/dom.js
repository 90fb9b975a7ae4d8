// Owns finding the page's elements and writing into them.

export function element(selector) {
  return document.querySelector(selector);
}

/** Writes only what is new, so that a screen reader reads nothing twice. */
export function write(selector, text) {
  if (element(selector).textContent !== text) element(selector).textContent = text;
}
