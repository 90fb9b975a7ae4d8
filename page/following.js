// Owns when a span that moves on is asked anew: every few seconds, while somebody looks and has not paused it.

import { MINUTE } from "./time.js";
import { ALL } from "./timespan.js";
import { pageVisible, sleep } from "./waiting.js";

const STEPS = 300; // of the span: so much of it passes from question to question
const [SHORTEST, SHORTEST_OF_ALL, LONGEST] = [2000, 10_000, MINUTE]; // ms

/** ms from question to question; Infinity where there is nothing to come. `span` is that of the rows, in ms. */
export function intervalOf(timespan, span) {
  if (timespan.isFixed) return Infinity;
  const shortest = timespan === ALL ? SHORTEST_OF_ALL : SHORTEST;
  return Math.min(LONGEST, Math.max(shortest, (timespan.length ?? span) / STEPS));
}

export class Following {
  isPaused = false;
  #button;
  #resumed = [];

  /** `act` is called when somebody pauses or goes on. */
  constructor(button, act) {
    this.#button = button;
    button.addEventListener("click", () => {
      this.#set(!this.isPaused);
      act();
    });
  }

  #set(isPaused) {
    this.isPaused = isPaused;
    this.#button.textContent = isPaused ? "Go on" : "Pause";
    this.#button.title = isPaused ? "Ask anew again" : "Show what there is now, until you go on";
    if (!isPaused) for (const resolve of this.#resumed.splice(0)) resolve();
  }

  /** Another span follows, whatever was paused before. */
  begin(isToMove) {
    this.#button.hidden = !isToMove;
    this.#set(false);
  }

  /** Resolves when it is time to ask again. */
  async turn(interval) {
    if (interval === Infinity) await new Promise(() => {});
    await sleep(interval);
    for (;;) {
      await pageVisible();
      if (!this.isPaused) return;
      await new Promise((resolve) => this.#resumed.push(resolve));
    }
  }
}
