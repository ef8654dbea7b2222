// The live client for browsers and Node 22: topics of /ws/live that repair their own cuts. Needs nothing else.
//
//   import { LiveFeed } from "/static/live.js";
//   const feed = new LiveFeed("http://127.0.0.1:8001");
//   feed.subscribe("requests", { status: "error" });
//   for await (const message of feed) if (message.type === "event") console.log(message.data);
//
// Or by listeners: feed.addEventListener("event", ({ detail }) => console.log(detail.data)).
// Promises: of an event topic every event once and in order (of each origin), or a "gap" that names the ones lost; of
// a state topic the newest state of each key. The protocol is docs/live.md, the use of this file docs/feed.md.

const PATH = "/ws/live";
const PROTOCOL = "fleetpulse.live.v1";
const OPEN_MS = 20_000;
const QUIET_MS = 45_000; // without a message (pages never see the server's pings) we ask; as long again is the end
const LOOK_MS = 10_000;
const ASK_AGAIN_MS = 5_000;
const PACE = 20; // subscriptions in one go, then a pause: the server bounds messages a second
const PACE_MS = 500;
const MAX_EPOCHS = 32;
const MAX_REFUSALS = 3;
const CREDENTIAL = new Set([1008, 4401, 4403]);
const FOR_GOOD = new Set([1009]);
const REFUSALS = new Set(["not-found", "forbidden", "invalid-input", "malformed", "unauthenticated"]);

/** Why a feed ended, or why a topic cannot be subscribed to. `code` is a close code or that of a problem document. */
export class FeedError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "FeedError";
    this.code = code;
  }
}

/** Where a client stands in one topic: {epoch: offset} for each origin. `takes` moves it, and tells what is new. */
export class Track {
  constructor(known = {}) {
    this.policy = "";
    this.at = new Map(Object.entries(known));
    this.next = null;
  }

  resume() {
    if (!this.at.size) return undefined;
    if (this.at.size > 1) return { positions: Object.fromEntries(this.at) };
    const [[epoch, offset]] = this.at;
    return { epoch, offset };
  }

  takes(message) {
    if (message.type === "subscribed") this.#subscribed(message);
    else if (message.type === "snapshot") {
      this.#settle();
      for (const [epoch, offset] of stands(message)) this.at.set(epoch, offset);
    } else if (message.type === "gap") {
      this.#settle();
      this.#move(message.epoch, Math.max(message.to, this.at.get(message.epoch) ?? 0));
    } else {
      const before = this.next ?? this.at;
      const fresh = [...stands(message)].filter(([epoch, offset]) => offset > (before.get(epoch) ?? 0));
      if (!fresh.length) return false;
      this.#settle();
      for (const [epoch, offset] of fresh) this.#move(epoch, offset);
    }
    return true;
  }

  /** What was lost is told by the messages that follow: until one has come, a cut must lead to the same question. */
  #subscribed(answer) {
    this.policy = answer.policy;
    this.next = null;
    if (answer.recovered) this.at = new Map([...stands(answer), ...this.at]);
    else if (!this.at.size) this.at = stands(answer);
    else this.next = stands(answer);
  }

  #move(epoch, offset) {
    if (!this.at.has(epoch) && this.at.size >= MAX_EPOCHS) this.at.delete(this.at.keys().next().value);
    this.at.set(epoch, offset);
  }

  #settle() {
    if (this.next) this.at = this.next;
    this.next = null;
  }
}

const stands = (message) => new Map([...Object.entries(message.positions ?? {}), [message.epoch, message.offset]]);

/** `agents/*` and `agents/` are `agents`, as the server has it. */
const canonical = (topic) => topic.replace(/\/\*?$/, "");

function addressOf(url) {
  const found = new URL(url, globalThis.location?.href);
  found.protocol = { "http:": "ws:", "https:": "wss:" }[found.protocol] ?? found.protocol;
  if (!/^wss?:$/.test(found.protocol)) throw new FeedError("invalid-input", `${url} is not an address of an exporter`);
  found.pathname = found.pathname.replace(/\/$/, "").replace(/\/ws\/live$/, "") + PATH;
  found.hash = "";
  return found.href;
}

export class LiveFeed extends EventTarget {
  #url; #options; #known; #topics = new Map(); #socket = null; #tag = 0; #failures = 0; #openedAt = 0; #heardAt = 0;
  #shown; #refused = null; #refusals = 0; #timers = new Map(); #over = false;

  /** Connects at once. Options: token (text or function), positions, firstDelay, longestDelay, stableAfter, random. */
  constructor(url = globalThis.location?.href, options = {}) {
    super();
    this.#url = addressOf(url);
    this.#options = { firstDelay: 2_000, longestDelay: 75_000, stableAfter: 20_000, random: Math.random, ...options };
    this.#known = { ...options.positions };
    globalThis.addEventListener?.("online", this.#hurry);
    queueMicrotask(() => this.#connect());
  }

  /** Subscribes, now or as soon as there is a connection; with another filter, anew. */
  subscribe(topic, filter = {}) {
    const name = canonical(topic);
    const before = this.#topics.get(name);
    if (before && JSON.stringify(before.filter) === JSON.stringify(filter)) return;
    if (before) this.unsubscribe(name);
    const known = before?.track.policy === "event" ? Object.fromEntries(before.track.at) : this.#known[name];
    delete this.#known[name];
    this.#topics.set(name, { name, filter, track: new Track(known), tag: null, epoch: null });
    this.#ask();
  }

  unsubscribe(topic) {
    const before = this.#topics.get(canonical(topic));
    this.#topics.delete(canonical(topic));
    if (before && before.tag !== null) this.#send({ type: "unsubscribe", topic: before.name, id: ++this.#tag });
  }

  get topics() { return [...this.#topics.keys()]; }

  /** {topic: {epoch: offset}} of the event topics, to be kept and given to the next page's feed. */
  get positions() {
    const found = { ...this.#known };
    for (const { name, track } of this.#topics.values()) {
      if (track.at.size && track.policy !== "state") found[name] = Object.fromEntries(track.at);
    }
    return found;
  }

  /** Ends the connection as a network would, to see it repaired. */
  cut() { if (this.#socket) this.#lost(this.#socket, "cut by this program"); }

  close() { this.#end(null); }

  /** Every message from now on. A program that lags holds them in memory: browsers cannot stop reading. */
  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake = () => {};
    const keep = ({ detail }) => { waiting.push(detail); wake(); };
    const ended = () => wake();
    this.addEventListener("message", keep);
    this.addEventListener("end", ended);
    try {
      for (;;) {
        while (waiting.length) yield waiting.shift();
        if (this.#over) { if (this.error) throw this.error; return; }
        await new Promise((resolve) => { wake = resolve; });
      }
    } finally {
      this.removeEventListener("message", keep);
      this.removeEventListener("end", ended);
    }
  }

  // The connection ----------------------------------------------------------------------------------------------
  async #connect() {
    if (this.#over) return;
    this.#tell({ type: "state", state: "connecting" });
    let token;
    try {
      token = await this.#token();
    } catch (error) {
      return error instanceof FeedError ? this.#end(error) : this.#later(`no token: ${error.message ?? error}`);
    }
    if (this.#over) return;
    const socket = new WebSocket(this.#url, [PROTOCOL]);
    this.#socket = socket;
    this.#openedAt = 0;
    this.#alarm("quiet", OPEN_MS, () => this.#lost(socket, "no answer in time"));
    socket.onopen = () => this.#opened(socket, token);
    socket.onmessage = ({ data }) => this.#received(socket, data);
    socket.onclose = ({ code, reason }) => this.#closed(socket, code, reason);
  }

  /** A fresh token is refused once; the same one again ends the feed. */
  async #token() {
    const source = this.#options.token;
    const token = typeof source === "function" ? await source() : source;
    if (this.#refused && token === this.#shown) throw this.#refused;
    this.#refused = null;
    this.#shown = token;
    return token;
  }

  #opened(socket, token) {
    this.#openedAt = this.#heardAt = Date.now();
    if (token) this.#send({ type: "auth", token });
    for (const topic of this.#topics.values()) topic.tag = topic.epoch = null;
    this.#tell({ type: "state", state: "connected" });
    this.#watch(socket);
    this.#ask();
  }

  #watch(socket) {
    this.#alarm("quiet", LOOK_MS, () => {
      const quiet = Date.now() - this.#heardAt;
      if (quiet > 2 * QUIET_MS) return this.#lost(socket, "the server gives no sign of life");
      if (quiet > QUIET_MS) this.#send({ type: "ping" });
      this.#watch(socket);
    });
  }

  #closed(socket, code, reason) {
    if (socket !== this.#socket) return;
    const why = `closed with ${code}${reason ? `: ${reason}` : ""}`;
    const error = new FeedError(code, why);
    if (FOR_GOOD.has(code)) return this.#end(error);
    if (CREDENTIAL.has(code)) {
      this.#refused = error;
      this.#refusals += 1;
      if (typeof this.#options.token !== "function" || this.#refusals > MAX_REFUSALS) return this.#end(error);
    }
    this.#lost(socket, why);
  }

  #lost(socket, why) {
    if (socket !== this.#socket) return;
    this.#drop();
    if (this.#openedAt && Date.now() - this.#openedAt >= this.#options.stableAfter) this.#failures = 0;
    this.#later(why);
  }

  /** Waits a random time below a bound that doubles, then connects again. */
  #later(why) {
    const { firstDelay, longestDelay, random } = this.#options;
    const wait = random() * Math.min(longestDelay, firstDelay * 2 ** Math.min(this.#failures++, 30));
    this.#tell({ type: "state", state: "waiting", detail: why, retryIn: wait });
    this.#alarm("again", wait, () => this.#connect());
  }

  #hurry = () => {
    if (this.#timers.has("again")) this.#alarm("again", 0, () => this.#connect());
  };

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    for (const each of ["quiet", "ask"]) this.#alarm(each);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #end(error) {
    if (this.#over) return;
    this.#over = true;
    this.error = error;
    this.#drop();
    this.#alarm("again");
    globalThis.removeEventListener?.("online", this.#hurry);
    this.dispatchEvent(new CustomEvent("end", { detail: error }));
  }

  // Messages ----------------------------------------------------------------------------------------------------
  #received(socket, text) {
    this.#heardAt = Date.now();
    const message = JSON.parse(text);
    if (message.type === "error") return this.#error(message);
    if (message.type === "auth_expiring") return void this.#renew(socket);
    const topic = this.#topics.get(message.topic);
    if (!topic) return undefined;
    if (message.type === "unsubscribed") return this.#dropped(topic, message);
    if (message.type === "subscribed" && message.id === topic.tag) topic.epoch = message.epoch;
    if (topic.epoch === null || message.offset === undefined) return undefined;
    message.epoch ??= topic.epoch;
    this.#refusals = 0;
    return topic.track.takes(message) ? this.#tell(message) : undefined;
  }

  #error(message) {
    const topic = [...this.#topics.values()].find(({ tag }) => tag !== null && tag === message.id);
    if (topic && REFUSALS.has(message.code)) this.#topics.delete(topic.name);
    else if (topic) setTimeout(() => this.#askAgain(topic, message.id), ASK_AGAIN_MS);
    this.#tell({ ...message, topic: topic?.name });
  }

  /** The server ended a subscription by itself: a newer credential does not allow it. */
  #dropped(topic, message) {
    if (message.id !== undefined) return;
    this.#topics.delete(topic.name);
    this.#tell({ type: "error", code: "forbidden", message: "the newer token does not allow it", topic: topic.name });
  }

  #askAgain(topic, tag) {
    if (topic.tag !== tag) return;
    topic.tag = null;
    this.#ask();
  }

  async #renew(socket) {
    if (typeof this.#options.token !== "function") return;
    const token = await this.#token().catch(() => null);
    if (token && socket === this.#socket) this.#send({ type: "auth", token });
  }

  /** Asks for the topics that this connection does not know of yet. */
  #ask() {
    if (this.#socket?.readyState !== WebSocket.OPEN || this.#timers.has("ask")) return;
    const left = [...this.#topics.values()].filter(({ tag }) => tag === null);
    for (const topic of left.slice(0, PACE)) {
      topic.tag = ++this.#tag;
      topic.epoch = null;
      const { name, filter, track, tag } = topic;
      const given = Object.keys(filter).length ? filter : undefined;
      this.#send({ type: "subscribe", topic: name, id: tag, filter: given, resume: track.resume() });
    }
    if (left.length > PACE) this.#alarm("ask", PACE_MS, () => this.#ask());
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #tell(message) {
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  /** One timer by name; without an action it is stopped. */
  #alarm(name, wait, action) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    if (action) this.#timers.set(name, setTimeout(() => { this.#timers.delete(name); action(); }, wait));
  }
}
