// The page of the API's documentation, made from /openapi.json in the browser. Works offline: it asks this exporter only.
import { copyable, h, inline, prose } from "./docs-dom.js";
import { Schemas } from "./docs-schema.js";
import { Trial } from "./docs-try.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

class Page {
  constructor(openapi) {
    this.openapi = openapi;
    this.schemas = new Schemas(openapi);
    this.entries = Object.entries(openapi.paths).flatMap(([path, methods]) =>
      METHODS.filter((method) => methods[method]).map((method) => this.entry(method, path, methods[method])));
  }

  show() {
    document.getElementById("version").textContent = this.openapi.info.version;
    document.getElementById("intro").replaceChildren(...prose(this.openapi.info.description));
    const groups = this.openapi.tags.map((tag) => [tag, this.entries.filter((entry) => entry.operation.tags.includes(tag.name))]);
    document.getElementById("index").replaceChildren(...groups.map(([tag, entries]) =>
      h("section", {}, h("h2", {}, tag.name), h("ul", {}, entries.map((entry) => entry.link)))));
    document.getElementById("operations").replaceChildren(...groups.map(([tag, entries]) =>
      h("section", { class: "group" }, h("h2", {}, tag.name), h("div", { class: "prose quiet" }, prose(tag.description)), entries.map((entry) => entry.element))));
    document.getElementById("find").addEventListener("input", (event) => this.find(event.target.value));
    window.addEventListener("hashchange", () => this.go());
    this.go();
  }

  /** Opens the operation that the address names. */
  go() {
    const element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!element?.matches("details.operation")) return;
    element.open = true;
    element.scrollIntoView();
    element.querySelector("summary").focus({ preventScroll: true });
  }

  /** Leaves those in sight whose words hold every word that is looked for. */
  find(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { link, element, words: own } of this.entries) {
      const hidden = !words.every((word) => own.includes(word));
      link.classList.toggle("hidden", hidden);
      element.classList.toggle("hidden", hidden);
    }
    for (const group of document.querySelectorAll("#index > section, .group")) {
      group.classList.toggle("hidden", !group.querySelector("li:not(.hidden), details.operation:not(.hidden)"));
    }
    document.querySelector("nav").classList.toggle("found", words.length > 0);
  }

  entry(method, path, operation) {
    const id = operation.operationId;
    const kind = operation["x-websocket"] ? "ws" : method;
    const badge = () => h("span", { class: `method ${kind}` }, kind.toUpperCase());
    const role = operation["x-role"];
    const element = h("details", { class: "operation card", id, toggle: () => this.fill(element, method, path, operation) },
      h("summary", {}, badge(), h("span", { class: "path" }, path), h("span", {}, operation.summary),
        h("span", { class: "role badge" }, role || "public")));
    const link = h("li", {}, h("a", { href: `#${id}`, title: operation.summary, click: () => { element.open = true; } }, badge(), h("span", { class: "path" }, path)));
    const words = `${kind} ${path} ${operation.summary} ${operation.description || ""} ${role || "public"} ${operation.tags}`.toLowerCase();
    return { operation, element, link, words };
  }

  /** What an operation holds, made when it is first opened. */
  fill(element, method, path, operation) {
    if (!element.open || element.querySelector(".body")) return;
    const trial = new Trial(method.toUpperCase(), path, operation, this.schemas);
    element.append(h("div", { class: "body" },
      h("div", { class: "prose" }, prose(operation.description)),
      this.parameters(operation),
      this.requestBody(operation),
      h("h3", {}, "Answers"),
      Object.entries(operation.responses).map(([status, response]) => this.answer(status, this.schemas.resolve(response))),
      trial.element()));
  }

  parameters(operation) {
    if (!operation.parameters) return null;
    return [h("h3", {}, "Parameters"), h("ul", { class: "schema" }, operation.parameters.map((parameter) =>
      h("li", {}, h("span", { class: "name" }, parameter.name), " ",
        h("span", { class: "type" }, `${parameter.in}, ${this.schemas.words(parameter.schema)}`), " ",
        parameter.required ? h("span", { class: "must" }, "required") : null,
        h("div", { class: "about" }, prose(parameter.description)))))];
  }

  requestBody(operation) {
    const body = operation.requestBody;
    if (!body) return null;
    return [h("h3", {}, "Body"), h("div", { class: "prose" }, prose(body.description)), this.contents(body.content, false)];
  }

  answer(status, response) {
    const kind = status < "300" ? "good" : status < "500" ? "warn" : "bad";
    return h("details", { class: "answer", open: status < "300" },
      h("summary", {}, h("span", { class: `badge ${kind}` }, status), h("span", {}, inline(response.description))),
      Object.entries(response.headers || {}).map(([name, header]) => h("p", { class: "quiet" }, h("code", {}, name), ` ${header.description}`)),
      this.contents(response.content || {}, true));
  }

  /** What a body or an answer may be, by media type: its fields on one side, an example on the other. */
  contents(content, answered) {
    const told = new Set();
    const given = Object.values(content).flatMap((its) => Object.values(its.examples || {}))[0]?.value;
    return Object.entries(content).map(([media, { schema }]) => {
      const lines = schema["x-lines"];
      const tree = this.schemas.tree(lines || schema, answered);
      const names = this.schemas.objects(lines || schema).map(([name]) => name).join();
      const known = told.has(names);
      told.add(names);
      const example = tree ? given ?? this.schemas.sample(lines || schema) : null;
      const text = lines ? [example].flat().map((item) => JSON.stringify(item)).join("\n") : JSON.stringify(example, null, 2);
      return [
        h("h4", {}, h("code", {}, media), " ", h("span", { class: "quiet" }, lines ? `one ${this.schemas.words(lines)} a line` : this.schemas.words(schema))),
        h("div", { class: "columns" }, h("div", {}, known ? null : tree), example === null ? null : copyable(h("pre", { tabindex: "0" }, text), text)),
      ];
    });
  }
}

async function load() {
  const place = document.getElementById("operations");
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    new Page(await response.json()).show();
    document.body.dataset.state = "ready";
  } catch (error) {
    place.replaceChildren(h("p", { class: "badge bad" }, `/openapi.json cannot be read: ${error.message}`));
    document.body.dataset.state = "failed";
  }
}

load();
