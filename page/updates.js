// Owns the updates that the page makes itself, where the server can't push, and those that it holds back for a while.

import { isAnsweredOnce, makeUpdate, ON_UPDATE, readMessage, REMOVE_UPDATE, subscriptionOf, VIEW_DELETE } from "./protocol.js";

/** Hears what goes over a connection, and so knows who waits for updates, and what is not answered yet. */
export class Updates {
  #subscriptions = new Map(); // their numbers, and the view of each
  #open = new Set(); // numbers of requests without an answer
  #quiet = [];
  #holders = 0;
  #act;

  /** `act` is called when the first question is asked, and when the last one is answered. */
  constructor(act = () => {}) {
    this.#act = act;
  }

  sent(request) {
    const message = readMessage(request);
    if (message.kind === ON_UPDATE) this.#subscriptions.set(message.number, message.name);
    if (message.kind === REMOVE_UPDATE) this.#subscriptions.delete(subscriptionOf(message));
    if (message.kind === VIEW_DELETE) this.#forget(message.name);
    if (!isAnsweredOnce(message)) return;
    this.#open.add(message.number);
    if (this.#open.size === 1) this.#act();
  }

  /** Returns whether the answer may go on to the viewers. */
  received(answer) {
    const { number } = readMessage(answer);
    if (this.#subscriptions.has(number)) return this.#holders === 0;
    if (this.#open.delete(number) && !this.isAsking) {
      for (const resolve of this.#quiet.splice(0)) resolve();
      this.#act();
    }
    return true;
  }

  /** Has no viewer updated until `done` is. Then all are, for they may have missed something. */
  async hold(client, done) {
    this.#holders++;
    try {
      await done();
    } finally {
      if (--this.#holders === 0) this.tell(client);
    }
  }

  get isAsking() {
    return this.#open.size > 0;
  }

  /** Resolves when all that was asked is answered. */
  async quiet() {
    if (this.isAsking) await new Promise((resolve) => this.#quiet.push(resolve));
  }

  /** Has the viewers of a Client ask again. */
  tell(client) {
    for (const [number, name] of this.#subscriptions) client.handle_response(makeUpdate(number, name).buffer);
  }

  /** The connection is over: nobody waits any more. */
  end() {
    this.#subscriptions.clear();
  }

  #forget(view) {
    for (const [number, name] of this.#subscriptions) if (name === view) this.#subscriptions.delete(number);
  }
}
