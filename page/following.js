// Owns the pause, and when a span that moves on is asked anew: every few seconds, while somebody looks.

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
  pausedSince = null; // ms since 1970
  #button;
  #act;
  #whenPaused = () => {};
  #resumed = [];
  #waiting = 0; // how many have something new to draw

  /** `act` is called with it when somebody pauses or goes on, and when there is something to draw that has to wait. */
  constructor(button, act) {
    this.#button = button;
    this.#act = act;
    button.addEventListener("click", () => this.#set(!this.isPaused));
  }

  /** Calls `act` when somebody pauses. */
  whenPaused(act) {
    this.#whenPaused = act;
  }

  get isPaused() {
    return this.pausedSince !== null;
  }

  /** Whether a connection was lost during the pause, and is back. */
  get isHeld() {
    return this.#waiting > 0;
  }

  #set(isPaused) {
    this.pausedSince = isPaused ? Date.now() : null;
    this.#button.textContent = isPaused ? "Go on" : "Pause";
    this.#button.title = isPaused ? "Go on with the newest data (space)" : "Keep what is shown until you go on (space)";
    if (!isPaused) for (const resolve of this.#resumed.splice(0)) resolve();
    if (isPaused) this.#whenPaused();
    this.#act(this);
  }

  /** Another span follows, whatever was paused before. */
  begin() {
    this.#set(false);
  }

  /** Whether there is something that could be paused. */
  offer(isOffered) {
    this.#button.hidden = !isOffered;
  }

  /** Resolves when nothing is paused. */
  async goingOn() {
    while (this.isPaused) await new Promise((resolve) => this.#resumed.push(resolve));
  }

  /** The same for a new connection, which would have all drawn anew: it says that it waits. */
  async turnToDraw(connection) {
    if (!this.isPaused) return;
    this.#wait(1);
    try {
      await connection.during(this.goingOn());
    } finally {
      this.#wait(-1);
    }
  }

  #wait(change) {
    this.#waiting += change;
    this.#act(this);
  }

  /** Resolves when it is time to ask again. */
  async turn(interval) {
    if (interval === Infinity) await new Promise(() => {});
    await sleep(interval);
    do {
      await pageVisible();
      await this.goingOn();
    } while (document.hidden);
  }
}
