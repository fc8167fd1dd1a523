// <hot-keys>: the shortcuts of every page; those of a list are in row-list.js.
import { isMac, isTyping } from "holdfast/dom";
import { openDialog } from "holdfast/dialogs";

const PATIENCE_MS = 900;

class HotKeys extends HTMLElement {
  connectedCallback() {
    this.listener = (event) => this.press(event);
    document.addEventListener("keydown", this.listener);
    if (isMac) document.querySelectorAll("[data-mod]").forEach((key) => { key.textContent = "⌘"; });
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.listener);
  }

  press(event) {
    if (event.defaultPrevented || event.repeat) return;
    if (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey)) {
      event.preventDefault();
      document.dispatchEvent(new CustomEvent("holdfast:palette"));
      return;
    }
    if (isTyping(event) || event.metaKey || event.ctrlKey || event.altKey) return;
    if (document.querySelector("dialog[open], :popover-open")) return;
    const isSecond = performance.now() < (this.until ?? 0);
    this.until = 0;
    if (isSecond && this.follow(`g ${event.key.toLowerCase()}`)) event.preventDefault();
    else if (event.key === "g") this.until = performance.now() + PATIENCE_MS;
    else if (event.key === "?") openDialog("shortcuts");
    else if (event.key === "/" && this.search()) event.preventDefault();
    else if (this.follow(event.key)) event.preventDefault();
  }

  follow(keys) {
    const link = document.querySelector(`[data-key="${CSS.escape(keys)}"]`);
    link?.click();
    return Boolean(link);
  }

  search() {
    const field = document.querySelector("[data-search]");
    field?.focus();
    field?.select?.();
    return Boolean(field);
  }
}
customElements.define("hot-keys", HotKeys);
