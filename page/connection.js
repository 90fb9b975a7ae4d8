// Owns one WebSocket and the Client on it, and notices when it is lost.

import { isGivenBack } from "./protocol.js";
import { Updates } from "./updates.js";
import { pageVisible, sleep, timeout } from "./waiting.js";

// ms
const CONNECT_TIMEOUT = 5000;
const PING_INTERVAL = 5000;
const PING_TIMEOUT = 10000;
const LOOK_INTERVAL = 1000; // at what came while a ping is not answered

const LOST = "connection lost";

// A viewer whose connection is lost asks in vain when it is resized or scrolled; the page says already that it is.
addEventListener("unhandledrejection", (event) => {
  if (String(event.reason?.message ?? event.reason).includes(LOST)) event.preventDefault();
});

/** A WebSocket that all viewers of its Client share. */
export class Connection {
  #socket;
  #opened;
  #lost; // rejected with the CloseEvent
  #over; // rejected once it is lost or dead
  #heardAt = 0;
  #isDead = false;
  #isEnded = false;
  #patience;
  #answerTimeout;

  /**
   * `hear` is called whenever the server says something; `tell` gets what it says besides its answers. `patience` is how
   * many ms without an answer are taken for a dead connection.
   */
  constructor(Client, url, { hear = () => {}, tell = () => {}, updates = new Updates(), patience = PING_TIMEOUT }) {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";

    const send = async (request) => {
      if (this.#isEnded && isGivenBack(request)) return; // by a viewer that goes
      if (this.#isEnded || socket.readyState !== WebSocket.OPEN) throw new Error(LOST); // else it would wait for ever
      updates.sent(request);
      socket.send(request.slice()); // a copy, for the request stands in memory that WASM uses again
    };
    async function close() {
      socket.close();
    }
    const client = new Client(send, close);
    socket.onmessage = (event) => {
      this.#heardAt = Date.now();
      hear();
      if (typeof event.data === "string") return tell(JSON.parse(event.data));
      if (updates.received(new Uint8Array(event.data))) client.handle_response(event.data);
    };
    this.client = client;
    this.updates = updates;
    this.#socket = socket;
    this.#patience = patience;
    this.#answerTimeout = patience === PING_TIMEOUT ? CONNECT_TIMEOUT : patience;
    this.#opened = new Promise((resolve) => (socket.onopen = resolve));
    this.#lost = new Promise((_, reject) => (socket.onclose = reject));
  }

  /** Resolves when the server has answered a first question; rejects with an Error or a CloseEvent. */
  async open() {
    await Promise.race([this.#opened, this.#lost, timeout(CONNECT_TIMEOUT)]);
    await Promise.race([this.client.get_hosted_table_names(), this.#lost, timeout(this.#answerTimeout)]);
    this.#over = Promise.race([this.#lost, this.#untilSilent()]);
    this.#over.catch(() => (this.#isDead = true));
  }

  get isOver() {
    return this.#isDead || this.#isEnded || this.#socket.readyState !== WebSocket.OPEN;
  }

  /** What the promise brings, unless the connection is over before; then rejects like open(). */
  during(promise) {
    return Promise.race([promise, this.#over]);
  }

  end() {
    this.#isEnded = true;
    this.#socket.onmessage = null;
    this.#socket.close();
    this.updates.end();
    this.client.handle_error(LOST); // else the viewers would wait for their answers for ever
  }

  /**
   * Throws once the server leaves a question unanswered and says nothing else either: a WebSocket may be dead for
   * long before it closes. Where the table is large, a busy server answers late.
   */
  async #untilSilent() {
    for (;;) {
      await sleep(PING_INTERVAL);
      await pageVisible();
      const asked = Date.now();
      const answer = this.client.get_hosted_table_names().then(() => true);
      while (!(await Promise.race([answer, sleep(LOOK_INTERVAL)]))) {
        const silent = Date.now() - Math.max(asked, this.#heardAt);
        if (silent > this.#patience) throw new Error(`no answer within ${this.#patience} ms`);
      }
    }
  }
}
