// Messages that come up below and go away by themselves; errors stay until they are dismissed.
import { icon, make } from "holdfast/dom";

const STAYS_MS = 6000;
const ICONS = { ok: "circle-check", bad: "circle-x", warn: "triangle-alert", info: "info" };

class ToastMessage extends HTMLElement {
  connectedCallback() {
    this.querySelector("[data-dismiss]")?.addEventListener("click", () => this.remove());
    if (this.hasAttribute("data-stays")) return;
    const wait = () => { this.timer = setTimeout(() => this.remove(), STAYS_MS); };
    this.addEventListener("pointerenter", () => clearTimeout(this.timer));
    this.addEventListener("pointerleave", wait);
    wait();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }
}
customElements.define("toast-message", ToastMessage);

/** Shows a message; `tone` is ok, info, warn or bad. */
export function toast(text, tone = "info") {
  const shelf = document.getElementById("toasts");
  if (!shelf) return;
  for (const shown of shelf.children) {
    if (shown.textContent.trim() === text) return;
  }
  const close = make("button", { type: "button", className: "button button-quiet button-icon button-sm -my-0.5", "data-dismiss": "", ariaLabel: "Dismiss" }, icon("x"));
  const message = make("toast-message", {
    className: `toast pointer-events-auto flex items-start gap-2.5 rounded-lg border border-line-strong bg-raised py-2.5 pl-3 pr-2 shadow-pop tone-${tone}`,
  }, icon(ICONS[tone], "mt-0.5 tone-text"), make("div", { className: "flex-1" }, text), close);
  if (tone === "bad") message.dataset.stays = "";
  shelf.append(message);
}
