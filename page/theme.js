// Owns the theme: dark, as the page is made to be seen, unless its viewer has chosen light; and that choice.

const THEMES = { light: "Pro Light", dark: "Pro Dark" };
const STORE = "theme"; // where the browser remembers it, and remember-theme.js finds it

const root = document.documentElement;

/** The theme for a viewer, given the one that it has: another one than these two is its user's, and stays. */
export function themeFor(chosen) {
  if (chosen && !Object.values(THEMES).includes(chosen)) return chosen;
  return THEMES[root.dataset.theme];
}

/** Lets the button switch between light and dark, and calls `act` when that happened, here or in another tab. */
export function letSwitchTheme(button, act) {
  function show(theme) {
    root.dataset.theme = theme;
    const other = otherThan(theme);
    button.textContent = other === "light" ? "Light" : "Dark";
    button.ariaLabel = `Switch to the ${other} theme`;
    button.title = button.ariaLabel;
    act();
  }
  button.addEventListener("click", () => {
    const theme = otherThan(root.dataset.theme);
    remember(theme);
    show(theme);
  });
  addEventListener("storage", ({ key, newValue }) => {
    if (key === STORE) show(newValue === "light" ? "light" : "dark");
  });
  show(root.dataset.theme);
}

function otherThan(theme) {
  return theme === "light" ? "dark" : "light";
}

function remember(theme) {
  try {
    localStorage.setItem(STORE, theme);
  } catch (error) {
    console.info(error); // a browser may be told to keep nothing
  }
}
