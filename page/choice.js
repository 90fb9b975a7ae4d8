// Owns the choice of time: the buttons in the header, what the address says of it, and the form for a span of one's own.

import { element } from "./dom.js";
import { changeHash, partOfHash } from "./hash.js";
import { AS_LAID_OUT, LIVE, localMoment, parseTimespan } from "./timespan.js";
import { DAY, HOUR, MINUTE } from "./time.js";

export class Choice {
  #buttons = [...document.querySelectorAll("#times [data-time]")];
  #own = element("#own"); // opens the form
  #form = element("#span");
  #default = LIVE; // where the address says nothing
  #chosen = null; // what it says
  #isPreset = false;
  #offered = []; // the moments that the form begins with
  #act = () => {};

  constructor() {
    for (const button of this.#buttons) button.addEventListener("click", () => this.choose(button.dataset.time));
    this.#own.addEventListener("click", () => this.#open(this.#form.hidden));
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#form.addEventListener("keydown", (event) => event.key === "Escape" && this.#open(false));
    this.#form.addEventListener("input", () => this.#form.elements.to.setCustomValidity(""));
    addEventListener("hashchange", () => this.#read());
    this.#read();
  }

  get now() {
    return this.#chosen ?? this.#default;
  }

  get isInAddress() {
    return this.#chosen !== null;
  }

  /** Calls `act` now, and whenever another time is chosen. */
  whenChanged(act) {
    this.#act = act;
    act();
  }

  /** The address gets it, so that a link shows the same and the browser's button leads back. */
  choose(key) {
    location.hash = changeHash(location.hash, { time: key });
  }

  /** What is shown where the address names no time; once the page has found something better, that stays. */
  setDefault(timespan, { isPreset = false } = {}) {
    if (this.#isPreset && !isPreset) return;
    this.#isPreset ||= isPreset;
    const before = this.now;
    this.#default = timespan;
    if (this.now.key !== before.key) this.#tell();
  }

  /** Whether each viewer can be shown at a time of its own. */
  offerLayout(isOffered) {
    this.#buttons.find(({ dataset }) => dataset.time === AS_LAID_OUT.key).hidden = !isOffered;
    if (!isOffered && this.#chosen === AS_LAID_OUT) this.#chosen = null;
  }

  #read() {
    const text = partOfHash("time");
    this.#chosen = text === null ? null : parseTimespan(text);
    this.#tell();
  }

  #tell() {
    const { key, words } = this.now;
    for (const button of this.#buttons) button.ariaPressed = String(button.dataset.time === key);
    const isOwn = !this.#buttons.some(({ ariaPressed }) => ariaPressed === "true");
    this.#own.ariaPressed = String(isOwn);
    this.#own.title = isOwn ? words : "";
    element('#times [aria-pressed="true"]').scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#act();
  }

  #open(isOpen) {
    this.#form.hidden = !isOpen;
    this.#own.ariaExpanded = String(isOpen);
    if (!isOpen) return this.#own.focus();
    const { from, to } = this.#form.elements;
    const { now } = this;
    const end = now.to ?? Math.ceil(Date.now() / MINUTE) * MINUTE;
    const begin = now.from ?? end - Math.min(now.length ?? HOUR, 400 * DAY);
    this.#offered = [begin, end];
    from.value = localMoment(begin);
    to.value = localMoment(end);
    from.focus();
  }

  #submit(event) {
    event.preventDefault();
    const { from, to } = this.#form.elements;
    // A moment that a clock shows twice is the first of the two, unless the form began with the other one.
    const write = ({ value }, offered) => (value === localMoment(offered) ? new Date(offered).toISOString() : value);
    const timespan = parseTimespan([from, to].map((field, index) => write(field, this.#offered[index])).join("/"));
    if (!timespan) {
      to.setCustomValidity("This has to be later than where it begins");
      return to.reportValidity();
    }
    this.#open(false);
    this.choose(timespan.key);
  }
}
