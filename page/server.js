// Owns the server: which one it is, the token that it may want, and asking it over HTTP.

import { changeHash } from "./hash.js";

export const ANSWER_TIMEOUT = 3000; // ms

const DEFAULT_PORT = 8080;

/** perspective_server.py at an address, which ends in "/". */
class Server {
  constructor(address) {
    this.address = address;
  }

  /** Where a file, an answer or, with another scheme, a WebSocket of the server is. */
  url(path) {
    return new URL(path, this.address);
  }

  webSocketUrl(path, query = {}) {
    const url = this.url(path);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    url.protocol = url.protocol.replace("http", "ws");
    if (this.token) url.searchParams.set("token", this.token);
    return url;
  }

  ask(path) {
    // Not as Authorization, which takes the password that a proxy may want.
    const headers = this.token ? { "X-Perspective-Token": this.token } : {};
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT);
    return fetch(this.url(path), { headers, signal, cache: "no-store" });
  }

  /** Whether anything answers there, though it may not let this page read what. */
  async isThere() {
    try {
      await fetch(this.url("health"), { mode: "no-cors", signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
      return true;
    } catch {
      return false;
    }
  }

  /** Whether the page came from there. */
  get isOwn() {
    return this.url("").origin === location.origin;
  }

  // The token is stored for one server alone: a link to this page with another ?server= must not get it.

  get token() {
    return sessionStorage.getItem(`token for ${this.address}`);
  }

  set token(token) {
    sessionStorage.setItem(`token for ${this.address}`, token);
  }
}

/** The server that the page's address leads to. Its own address is null where ?server= makes no sense. */
export function findServer() {
  return new Server(findAddress());
}

/** The dashboard that the page's address names, or "" for the first one. */
export function dashboardInAddress() {
  const last = location.pathname.split("/").at(-1);
  return last.endsWith(".html") ? (new URLSearchParams(location.search).get("dashboard") ?? "") : last;
}

/** The page's address for another dashboard, at the same time. */
export function addressOf(dashboard) {
  const address = new URL(location);
  address.hash = changeHash(location.hash, { table: null, view: null }); // which are of this dashboard
  if (address.pathname.endsWith(".html")) address.searchParams.set("dashboard", dashboard);
  else address.pathname = new URL(dashboard, address).pathname;
  return address;
}

/**
 * perspective_server.py gives this page out at / and, where there are several dashboards, at the name of each, or a proxy
 * does below a path; a file server does under the page's own name. So the page's address tells who gave it out.
 */
function findAddress() {
  const wanted = new URLSearchParams(location.search).get("server");
  if (wanted) {
    const address = wanted.includes("://") ? wanted : `http://${wanted}`;
    return URL.canParse(address) ? `${new URL(address).origin}/` : null;
  }
  if (!location.pathname.endsWith(".html")) return new URL(".", location.origin + location.pathname).href;
  return `http://${location.hostname || "localhost"}:${DEFAULT_PORT}/`;
}

export function checkAddress(server) {
  if (!server.address) throw new Error(`?server= takes host:port, such as ?server=localhost:${DEFAULT_PORT}`);
}

/** ?token= leaves the address bar, where others could read it, for this tab's own storage. */
export function takeTokenFromAddress(server) {
  const address = new URL(location);
  if (!address.searchParams.has("token")) return;
  server.token = address.searchParams.get("token");
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}
