// <json-view data-value>: a JSON value that can be folded. Children are made when they are first
// unfolded, and what was unfolded stays so when the value changes.
import { make } from "holdfast/dom";

const OPEN_DEPTH = 2;
const MOST_OPEN = 40;
const AT_ONCE = 100;
const LONG = 400;

class JsonView extends HTMLElement {
  static observedAttributes = ["data-value"];

  connectedCallback() {
    this.folds ??= new Map();
    this.render();
  }

  attributeChangedCallback(name, before, after) {
    if (this.isConnected && this.folds && before !== after) this.render();
  }

  render() {
    let value;
    try {
      value = JSON.parse(this.dataset.value);
    } catch {
      return;
    }
    const place = this.scrollTop;
    this.replaceChildren(this.row("", null, value, 0, "$"));
    this.scrollTop = place;
  }

  row(comma, key, value, depth, path) {
    const row = make("span", { className: "json-row" });
    const label = key === null ? [] : [make("span", { className: "json-key" }, typeof key === "number" ? `${key}` : key), ": "];
    if (value === null || typeof value !== "object") {
      row.append(...label, this.leaf(value), comma);
      return row;
    }
    const isList = Array.isArray(value);
    const keys = isList ? value.keys() : Object.keys(value);
    const size = isList ? value.length : keys.length;
    const [open, close] = isList ? "[]" : "{}";
    if (!size) {
      row.append(...label, open + close, comma);
      return row;
    }
    const isOpen = this.folds.get(path) ?? (depth < OPEN_DEPTH && size <= MOST_OPEN);
    const note = make("span", { className: "json-note" }, ` ${size} ${isList ? (size === 1 ? "item" : "items") : size === 1 ? "key" : "keys"} `);
    const fold = make("button", { type: "button", className: "json-fold", ariaExpanded: String(isOpen) }, ...label, open, note, make("span", { className: "json-close" }, close));
    const inside = make("span", {});
    const end = make("span", { className: "json-row" }, close, comma);
    const show = (shown) => {
      fold.ariaExpanded = String(shown);
      note.hidden = fold.lastChild.hidden = shown;
      end.hidden = inside.hidden = !shown;
      if (shown && !inside.firstChild) this.fill(inside, value, [...(isList ? value.keys() : Object.keys(value))], 0, depth, path);
    };
    fold.addEventListener("click", () => {
      const shown = fold.ariaExpanded !== "true";
      this.folds.set(path, shown);
      show(shown);
    });
    row.append(fold, inside, end);
    end.className = "";
    show(isOpen);
    return row;
  }

  fill(inside, value, keys, from, depth, path) {
    const upTo = Math.min(keys.length, from + AT_ONCE);
    for (let index = from; index < upTo; index++) {
      const key = keys[index];
      inside.append(this.row(index + 1 < keys.length ? "," : "", key, value[key], depth + 1, `${path}/${key}`));
    }
    if (upTo === keys.length) return;
    const more = make("button", { type: "button", className: "json-row json-more" }, `${keys.length - upTo} more`);
    more.addEventListener("click", () => {
      more.remove();
      this.fill(inside, value, keys, upTo, depth, path);
    });
    inside.append(more);
  }

  leaf(value) {
    if (typeof value !== "string") {
      return make("span", { className: typeof value === "number" ? "json-number" : "json-word" }, String(value));
    }
    if (value.length <= LONG) return make("span", { className: "json-string" }, JSON.stringify(value));
    const text = make("span", { className: "json-string" }, JSON.stringify(value.slice(0, LONG)).slice(0, -1));
    const more = make("button", { type: "button", className: "json-more" }, `… ${value.length - LONG} characters more`);
    more.addEventListener("click", () => {
      text.textContent = JSON.stringify(value);
      more.remove();
    });
    return make("span", {}, text, more);
  }
}
customElements.define("json-view", JsonView);
