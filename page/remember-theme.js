// Owns the theme at first sight. A script that the page waits for, and no module: it is never drawn in the wrong one.

document.documentElement.dataset.theme = rememberedTheme() === "light" ? "light" : "dark";

function rememberedTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser may be told to keep nothing
  }
}
