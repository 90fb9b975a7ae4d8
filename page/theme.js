// Owns the viewers' theme: light or dark, as the system has it, unless their user has chosen another.

const THEMES = { light: "Pro Light", dark: "Pro Dark" };

const darkness = matchMedia("(prefers-color-scheme: dark)");

/** The theme for a viewer, given the one that it has. */
export function themeFor(chosen) {
  if (chosen && !Object.values(THEMES).includes(chosen)) return chosen;
  return darkness.matches ? THEMES.dark : THEMES.light;
}

export function whenThemeChanges(act) {
  darkness.addEventListener("change", act);
}
