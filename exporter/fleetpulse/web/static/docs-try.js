// "Try it": a form for each operation that sends the real request, and the same request as a curl command.
import { copyable, h } from "./docs-dom.js";

const MOST_SHOWN = 200_000;
const MOST_MESSAGES = 200;
const LINES = "application/x-ndjson";

/** The credentials that were typed in, as headers. */
function credentials() {
  const [key, secret, bearer] = ["app-key", "app-secret", "bearer"].map((id) => document.getElementById(id).value.trim());
  return {
    ...(key && { "X-App-Key": key }),
    ...(secret && { "X-App-Secret": secret }),
    ...(bearer && { Authorization: `Bearer ${bearer}` }),
  };
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export class Trial {
  constructor(method, path, operation, schemas) {
    Object.assign(this, { method, path, operation, schemas });
    this.inputs = (operation.parameters || []).map((parameter) => [parameter, this.input(parameter)]);
    this.socket = null;
    this.saved = null;
  }

  /** The form with everything in it. */
  element() {
    this.curl = h("pre", { "aria-label": "curl command" });
    this.result = h("div", { class: "result", "aria-live": "polite" });
    this.form = h("form", { class: "try", submit: (event) => this.submitted(event), input: () => this.told() },
      h("h3", {}, "Try it"),
      this.inputs.length ? h("div", { class: "fields" }, this.inputs.map(([parameter, input]) => this.labelled(parameter, input))) : null,
      this.bodyFields(),
      h("div", { class: "row" }, this.operation["x-websocket"] ? this.socketButtons() : h("button", { class: "main" }, "Send request")),
      this.operation["x-websocket"] ? null : copyable(this.curl, () => this.command()),
      this.result);
    document.getElementById("credentials").addEventListener("input", () => this.told());
    this.told();
    return this.form;
  }

  input(parameter) {
    const schema = this.schemas.resolve(parameter.schema);
    const common = { name: parameter.name, required: parameter.required };
    if (schema.enum || schema.type === "boolean") {
      const values = schema.enum || ["true", "false"];
      return h("select", common, parameter.required ? null : h("option", { value: "" }, ""), values.map((value) => h("option", {}, String(value))));
    }
    const shown = schema.default ?? schema.examples?.[0] ?? "";
    return h("input", { ...common, autocomplete: "off", spellcheck: "false", placeholder: shown === "" ? null : String(shown) });
  }

  labelled(parameter, input) {
    const where = parameter.in === "query" ? "" : ` (${parameter.in})`;
    return h("label", {}, h("span", { class: "mono" }, parameter.name, where, parameter.required ? " *" : ""), input);
  }

  bodyFields() {
    const body = this.operation.requestBody;
    if (!body) return null;
    this.media = h("select", { "aria-label": "Content type", change: () => this.filled() }, Object.keys(body.content).map((media) => h("option", {}, media)));
    const examples = Object.values(body.content).flatMap((content) => Object.entries(content.examples || {}));
    this.examples = new Map(examples.map(([title, example]) => [title, example.value]));
    this.example = h("select", { "aria-label": "Example", change: () => this.filled() }, [...this.examples.keys()].map((title) => h("option", {}, title)));
    this.text = h("textarea", { "aria-label": "Request body", spellcheck: "false" });
    this.filled();
    return [h("div", { class: "row" }, this.media, this.examples.size ? this.example : null), this.text];
  }

  /** Puts an example into the body. */
  filled() {
    const content = this.operation.requestBody.content[this.media.value];
    const value = this.examples.get(this.example.value) ?? this.schemas.sample(content.schema);
    if (this.media.value === LINES) this.text.value = [value].flat().map((item) => JSON.stringify(item)).join("\n");
    else this.text.value = this.media.value.endsWith("json") ? JSON.stringify(value, null, 2) : "";
    this.told();
  }

  /** The address with the parameters that were filled in. */
  url() {
    let path = this.path;
    const query = new URLSearchParams();
    for (const [parameter, input] of this.inputs) {
      if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value) || `{${parameter.name}}`);
      else if (parameter.in === "query" && input.value !== "") query.append(parameter.name, input.value);
    }
    const asked = query.toString();
    return new URL(asked ? `${path}?${asked}` : path, location.origin);
  }

  headers() {
    const own = this.inputs.filter(([parameter, input]) => parameter.in === "header" && input.value !== "");
    return {
      ...Object.fromEntries(own.map(([parameter, input]) => [parameter.name, input.value])),
      ...(this.text && { "Content-Type": this.media.value }),
      ...credentials(),
    };
  }

  /** The same request for a shell; parameters that are not filled in stay to be. */
  command() {
    let address = this.url().href;
    for (const [parameter, input] of this.inputs) {
      if (parameter.in === "path" && !input.value) address = address.replace(`%7B${parameter.name}%7D`, `{${parameter.name}}`);
    }
    const parts = [this.method === "GET" ? "curl" : `curl -X ${this.method}`, quoted(address)];
    for (const [name, value] of Object.entries(this.headers())) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
    if (this.text) parts.push(`--data-binary ${quoted(this.text.value)}`);
    return parts.join(" \\\n  ");
  }

  /** Shows the curl command anew, with secrets hidden: the one that is copied has them. */
  told() {
    if (!this.curl) return;
    const secrets = ["X-App-Secret", "Authorization"].map((name) => credentials()[name]).filter(Boolean);
    this.curl.textContent = secrets.reduce((text, secret) => text.replaceAll(secret, "•••"), this.command());
  }

  async submitted(event) {
    event.preventDefault();
    if (this.operation["x-websocket"]) return this.connect();
    const button = this.form.querySelector("button.main");
    button.disabled = true;
    try {
      await this.send();
    } catch (error) {
      this.result.replaceChildren(h("p", { class: "badge bad" }, `No answer: ${error.message}`));
    } finally {
      button.disabled = false;
    }
  }

  async send() {
    const began = performance.now();
    const response = await fetch(this.url(), { method: this.method, headers: this.headers(), body: this.text?.value, redirect: "follow" });
    const blob = await response.blob();
    const took = Math.round(performance.now() - began);
    const text = await blob.slice(0, MOST_SHOWN).text();
    if (this.saved) URL.revokeObjectURL(this.saved);
    this.saved = URL.createObjectURL(blob);
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const kind = response.status < 300 ? "good" : response.status < 500 ? "warn" : "bad";
    this.result.replaceChildren(
      h("div", { class: "row" },
        h("span", { class: `badge ${kind} status` }, `${response.status} ${response.statusText}`),
        h("span", { class: "quiet" }, `${took} ms, ${blob.size.toLocaleString("en")} bytes`),
        h("a", { href: this.saved, download: fileName(this.path, response.headers.get("Content-Type")) }, "Save")),
      h("details", {}, h("summary", {}, "Headers"), h("pre", {}, headers)),
      h("pre", { class: "answer-body", tabindex: "0" }, pretty(text, response.headers.get("Content-Type"), blob.size)));
  }

  socketButtons() {
    this.message = h("input", { "aria-label": "Message to send", placeholder: '{"type": "ping"}', autocomplete: "off" });
    const send = () => this.socket?.readyState === WebSocket.OPEN && this.socket.send(this.message.value || this.message.placeholder);
    this.connecting = h("button", { class: "main" }, "Connect");
    return [this.connecting, this.message, h("button", { type: "button", click: send }, "Send message")];
  }

  /** Opens the feed, or closes the one that is open. */
  connect() {
    if (this.socket) return this.socket.close();
    const url = this.url();
    url.protocol = url.protocol.replace("http", "ws");
    const bearer = credentials().Authorization?.slice("Bearer ".length);
    const list = h("pre", { class: "answer-body", tabindex: "0" });
    const state = h("span", { class: "badge status" }, "connecting");
    const tell = (text) => {
      list.append(`${text}\n`);
      while (list.childNodes.length > MOST_MESSAGES) list.firstChild.remove();
      list.scrollTop = list.scrollHeight;
    };
    this.result.replaceChildren(h("div", { class: "row" }, state), list);
    this.socket = new WebSocket(url, bearer ? ["fleetpulse.live.v1", "bearer", bearer] : []);
    this.socket.onopen = () => { state.textContent = "connected"; state.classList.add("good"); };
    this.socket.onmessage = (event) => tell(event.data);
    this.socket.onclose = (event) => {
      state.textContent = `closed: ${event.code} ${event.reason}`;
      state.classList.remove("good");
      this.connecting.textContent = "Connect";
      this.socket = null;
    };
    this.connecting.textContent = "Disconnect";
  }
}

function pretty(text, type, size) {
  const cut = size > MOST_SHOWN ? `\n… ${(size - MOST_SHOWN).toLocaleString("en")} more bytes; Save has them` : "";
  if (!cut && /json/.test(type || "") && !/ndjson/.test(type)) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }
  return text + cut;
}

function fileName(path, type) {
  const ending = { "application/json": "json", "text/csv": "csv", "text/html": "html", "text/markdown": "md", [LINES]: "jsonl" };
  const name = path.split("/").filter((part) => part && !part.startsWith("{")).pop() || "answer";
  return `${name.replace(/\.\w+$/, "")}.${ending[(type || "").split(";")[0]] || "txt"}`;
}
