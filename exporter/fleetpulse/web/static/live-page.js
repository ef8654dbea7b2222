// The live feed's test page: subscribes, shows what comes, where each topic stands, and lets one cut the connection.
import { h } from "./docs-dom.js";
import { LiveFeed } from "./live.js";

const SHOWN = 200; // messages in the list
const KEPT = "fleetpulse.live.positions";
const TONES = { connected: "good", connecting: "warn", waiting: "warn" };
const at = (id) => document.getElementById(id);
const rows = new Map();
let feed = null;
let connections = 0;
let paused = false;

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

/** `status=error,timeout n=5` as a filter; numbers and JSON's words match as such as well. */
function filterOf(text) {
  const filter = {};
  for (const pair of text.split(/\s+/).filter(Boolean)) {
    const [name, ...rest] = pair.split("=");
    if (!name || !rest.length) throw new Error(`${pair}: write field=value`);
    filter[name] = rest.join("=").split(",").flatMap((value) => {
      if (/^(true|false|null|-?\d+(\.\d+)?)$/.test(value)) return [value, JSON.parse(value)];
      return [value];
    });
  }
  return filter;
}

function problem(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function start() {
  const token = at("token").value.trim();
  feed = new LiveFeed(location.origin, { positions: kept(), token: token || undefined });
  feed.addEventListener("message", ({ detail }) => take(detail));
  feed.addEventListener("end", ({ detail }) => {
    feed = null;
    state("ended", "bad", detail?.message ?? "");
    for (const row of rows.values()) row.element.remove();
    rows.clear();
    if (detail) problem(`The feed ended: ${detail.message}`);
  });
}

function state(word, tone, why) {
  at("state").textContent = word;
  at("state").className = `badge ${tone}`;
  at("why").textContent = why;
}

function take(message) {
  if (message.type === "state") {
    connections += message.state === "connected";
    at("connections").textContent = connections;
    const again = message.retryIn === undefined ? "" : `; again in ${(message.retryIn / 1000).toFixed(1)} s`;
    state(message.state, TONES[message.state], `${message.detail ?? ""}${again}`);
  } else if (message.type === "error") {
    problem(`${message.topic ?? ""} ${message.message}`);
    if (message.topic && !feed.topics.includes(message.topic)) remove(message.topic);
  } else count(message);
  list(message);
}

function count(message) {
  const row = rows.get(message.topic);
  if (!row) return;
  if (["event", "update", "left"].includes(message.type)) row.seen.textContent = Number(row.seen.textContent) + 1;
  if (message.type === "gap") row.lost.textContent = Number(row.lost.textContent) + message.to - message.from + 1;
  row.position.textContent = `${message.epoch} ${message.offset}`;
  row.element.dataset.recovered = message.type === "subscribed" ? message.recovered : row.element.dataset.recovered;
  sessionStorage.setItem(KEPT, JSON.stringify(feed.positions));
}

function list(message) {
  if (paused) return;
  const { type, topic, ...rest } = message;
  const line = h("li", { class: type }, h("span", { class: "type" }, type), ` ${topic ?? ""} ${JSON.stringify(rest)}`);
  at("messages").prepend(line);
  while (at("messages").childElementCount > SHOWN) at("messages").lastElementChild.remove();
}

function add(topic, filter, shown) {
  remove(topic);
  const cell = (kind) => h("td", { class: kind });
  const row = { seen: h("td", { class: "number" }, "0"), lost: h("td", { class: "number" }, "0"), position: cell("mono") };
  const leave = h("button", { type: "button", click: () => { feed?.unsubscribe(topic); remove(topic); } }, "Leave");
  row.element = h("tr", { "data-topic": topic }, h("td", {}, topic), h("td", { class: "mono" }, shown), row.seen, row.lost,
    row.position, h("td", {}, leave));
  if (!rows.size) at("topics").replaceChildren();
  rows.set(topic, row);
  at("topics").append(row.element);
  feed.subscribe(topic, filter);
}

function remove(topic) {
  rows.get(topic)?.element.remove();
  rows.delete(topic);
}

at("add").addEventListener("submit", (event) => {
  event.preventDefault();
  problem("");
  try {
    const filter = filterOf(at("filter").value);
    if (!feed) start();
    add(at("topic").value.trim().replace(/\/\*?$/, ""), filter, at("filter").value.trim());
    at("topic").value = "";
  } catch (error) {
    problem(error.message);
  }
});
at("cut").addEventListener("click", () => feed?.cut());
at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", paused);
});
document.body.dataset.state = "ready";
