// Owns one WebSocket and the Client on it, and notices when it is lost.

import { pageVisible, sleep, timeout } from "./waiting.js";

// ms
const CONNECT_TIMEOUT = 5000;
const PING_INTERVAL = 5000;
const PING_TIMEOUT = 10000;
const LOOK_INTERVAL = 1000; // at what came while a ping is not answered

/** A WebSocket that all viewers of its Client share. */
export class Connection {
  #socket;
  #opened;
  #lost; // rejected with the CloseEvent
  #over; // rejected once it is lost or dead
  #heardAt = 0;
  #isDead = false;

  /** `hear` is called whenever the server says something. */
  constructor(Client, url, hear) {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";

    async function send(request) {
      if (socket.readyState !== WebSocket.OPEN) throw new Error("connection lost");
      socket.send(request.slice()); // a copy, for the request stands in memory that WASM uses again
    }
    async function close() {
      socket.close();
    }
    const client = new Client(send, close);
    socket.onmessage = (event) => {
      this.#heardAt = Date.now();
      hear();
      client.handle_response(event.data);
    };
    this.client = client;
    this.#socket = socket;
    this.#opened = new Promise((resolve) => (socket.onopen = resolve));
    this.#lost = new Promise((_, reject) => (socket.onclose = reject));
  }

  /** Resolves when the server has answered a first question; rejects with an Error or a CloseEvent. */
  async open() {
    await Promise.race([this.#opened, this.#lost, timeout(CONNECT_TIMEOUT)]);
    await Promise.race([this.client.get_hosted_table_names(), this.#lost, timeout(CONNECT_TIMEOUT)]);
    this.#over = Promise.race([this.#lost, this.#silence()]);
    this.#over.catch(() => (this.#isDead = true));
  }

  get isOver() {
    return this.#isDead || this.#socket.readyState !== WebSocket.OPEN;
  }

  /** What the promise brings, unless the connection is over before; then rejects like open(). */
  during(promise) {
    return Promise.race([promise, this.#over]);
  }

  end() {
    this.#socket.close();
    this.client.handle_error("connection lost"); // else the viewers would wait for their answers for ever
  }

  /**
   * Throws once the server leaves a question unanswered and says nothing else either: a WebSocket may be dead for
   * long before it closes. Where the table is large, a busy server answers late.
   */
  async #silence() {
    for (;;) {
      await sleep(PING_INTERVAL);
      await pageVisible();
      const asked = Date.now();
      const answer = this.client.get_hosted_table_names().then(() => true);
      while (!(await Promise.race([answer, sleep(LOOK_INTERVAL)]))) {
        const silent = Date.now() - Math.max(asked, this.#heardAt);
        if (silent > PING_TIMEOUT) throw new Error(`no answer within ${PING_TIMEOUT} ms`);
      }
    }
  }
}
