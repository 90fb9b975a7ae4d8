// Owns waiting: for a while, for an answer no longer than that, for somebody to look at the page.

export const FIRST_PAUSE = 250; // ms before trying again; doubled from attempt to attempt
export const LONGEST_PAUSE = 5000;

export function sleep(duration) {
  return new Promise((resolve) => setTimeout(resolve, duration));
}

/** Longer from attempt to attempt, and random: not all viewers of a server shall come back to it at once. */
export function pauseAfter(attempt) {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempt) * (0.5 + Math.random() / 2);
}

export async function timeout(duration) {
  await sleep(duration);
  throw new Error(`no answer within ${duration} ms`);
}

export async function pageVisible() {
  while (document.hidden) {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}
