// JSON Schemas for people: what type a value is, in words; its fields as a tree; an example of it.
import { h, prose } from "./docs-dom.js";

const OPEN_LEVELS = 2;
const MOST_LEVELS = 8;

export class Schemas {
  constructor(openapi) {
    this.openapi = openapi;
  }

  /** What a reference leads to, or the thing itself. */
  resolve(thing) {
    if (!thing || !thing.$ref) return thing || {};
    const target = thing.$ref.slice(2).split("/").reduce((at, key) => (at || {})[key], this.openapi);
    return { ...target, ...Object.fromEntries(Object.entries(thing).filter(([key]) => key !== "$ref")) };
  }

  /** The type in words: `integer, 1 to 1000, default 100`. */
  words(raw) {
    const schema = this.resolve(raw);
    const forms = schema.anyOf || schema.oneOf;
    const base = forms ? forms.map((form) => this.words(form)).join(" or ") : this.plain(raw, schema);
    return [base, ...bounds(schema)].join(", ");
  }

  plain(raw, schema) {
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type;
    if (type === "array") return schema.items ? `list of ${this.words(schema.items)}` : "list";
    if (type === "object" && raw.$ref) return raw.$ref.split("/").pop();
    if (type === "object" && typeof schema.additionalProperties === "object") {
      return `object of ${this.words(schema.additionalProperties)} by name`;
    }
    return (type || "anything") + (schema.format ? ` (${schema.format})` : "");
  }

  /** The fields of a schema as a tree, nested ones unfolded as far as one likes to see at once.
   *
   * Of a body it says what must be there, of an answer what may be missing.
   */
  tree(raw, answered, level = 0) {
    const objects = this.objects(raw);
    if (!objects.length || level > MOST_LEVELS) return null;
    return objects.map(([name, schema]) => [
      objects.length > 1 ? h("h4", {}, name) : null,
      h("ul", { class: level ? "" : "schema" }, Object.entries(schema.properties).map(([field, its]) =>
        this.field(field, its, mark((schema.required || []).includes(field), answered), answered, level))),
    ]);
  }

  field(name, raw, marked, answered, level) {
    const schema = this.resolve(raw);
    const nested = this.tree(raw, answered, level + 1);
    return h("li", {},
      h("span", { class: "name" }, name), " ",
      h("span", { class: "type" }, this.words(raw)), " ",
      marked,
      h("div", { class: "about" }, prose(raw.$ref ? raw.description : schema.description)),
      nested ? h("details", { open: level + 1 < OPEN_LEVELS }, h("summary", {}, "fields"), nested) : null);
  }

  /** The objects with fields that a value may be or hold: `[name, schema]`. */
  objects(raw) {
    const schema = this.resolve(raw);
    const forms = schema.anyOf || schema.oneOf || schema.allOf;
    if (forms) {
      const all = forms.flatMap((form) => this.objects(form));
      return all.filter(([, its], index) => all.findIndex(([, other]) => same(its, other)) === index);
    }
    if (schema.properties) return [[raw.$ref ? raw.$ref.split("/").pop() : "object", schema]];
    if (schema.items) return this.objects(schema.items);
    if (typeof schema.additionalProperties === "object") return this.objects(schema.additionalProperties);
    return [];
  }

  /** A value that fits a schema. */
  sample(raw, level = 0) {
    const schema = this.resolve(raw);
    if (schema.examples?.length) return schema.examples[0];
    if (schema.default !== undefined && schema.default !== null) return schema.default;
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    const forms = schema.anyOf || schema.oneOf || schema.allOf;
    if (forms) return this.sample(forms[0], level);
    const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
    if (type === "array") return level > 4 || !schema.items ? [] : [this.sample(schema.items, level + 1)];
    if (schema.properties) {
      return Object.fromEntries(Object.entries(schema.properties).map(([key, its]) => [key, this.sample(its, level + 1)]));
    }
    if (type === "object") return {};
    if (type === "integer" || type === "number") return schema.minimum ?? 0;
    if (type === "boolean") return true;
    if (type === "null") return null;
    if (schema.format === "date-time") return "2025-01-07T10:30:00Z";
    if (schema.format === "date") return "2025-01-07";
    return "text";
  }
}

function mark(required, answered) {
  if (required === answered) return null;
  return h("span", { class: answered ? "may" : "must" }, answered ? "not always" : "required");
}

function same(one, other) {
  return one.properties === other.properties;
}

function bounds(schema) {
  const found = [];
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const most = schema.maximum ?? schema.exclusiveMaximum;
  const high = most < Number.MAX_SAFE_INTEGER ? most : undefined;
  if (low !== undefined && high !== undefined) found.push(`${low} to ${high}`);
  else if (low !== undefined) found.push(`at least ${low}`);
  else if (high !== undefined) found.push(`at most ${high}`);
  if (schema.maxLength !== undefined) found.push(`${schema.minLength ?? 0} to ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) found.push(`at most ${schema.maxItems} items`);
  if (schema.maxProperties !== undefined) found.push(`at most ${schema.maxProperties} names`);
  const shown = schema.default !== undefined && schema.default !== null && schema.default !== "";
  if (shown) found.push(`default ${typeof schema.default === "object" ? JSON.stringify(schema.default) : schema.default}`);
  return found;
}
