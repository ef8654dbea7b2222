// Elements made from data. Text only ever becomes text nodes: nothing that stands in a document is read as markup.

/** An element with attributes (functions are listeners) and children; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*/g;

/** The same within a line. */
export function inline(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    parts.push(text.slice(at, found.index));
    const [whole, code, strong, emphasis] = found;
    if (code) parts.push(h("code", {}, code));
    else parts.push(h(strong ? "strong" : "em", {}, strong || emphasis));
    at = found.index + whole.length;
  }
  return [...parts, text.slice(at)];
}

/** The little Markdown that descriptions use: paragraphs, lists, code, bold, emphasis. */
export function prose(text) {
  return (text || "").split(/\n\s*\n/).filter((block) => block.trim()).map((block) => {
    if (!block.startsWith("- ")) return h("p", {}, inline(block.replace(/\s*\n\s*/g, " ")));
    const items = block.slice(2).split(/\n- /);
    return h("ul", {}, items.map((item) => h("li", {}, inline(item.replace(/\s*\n\s*/g, " ")))));
  });
}

/** A text with a button that copies it; `text` may be a function, asked when it is pressed. */
export function copyable(pre, text) {
  const button = h("button", { type: "button", click: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it";
      getSelection().selectAllChildren(pre);
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  return h("div", { class: "copy" }, pre, button);
}
