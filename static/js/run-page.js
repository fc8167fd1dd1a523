// What the page of a run needs beside that of every page.
import "holdfast/json-view";
import "holdfast/lengths";
import "holdfast/live-stream";
import "holdfast/log-tail";
import "holdfast/trace-tree";
import { delegate, icon, make } from "holdfast/dom";
import { toast } from "holdfast/toasts";

/** <span-panel>: what the chosen span says, in place of what is known of the run. */
class SpanPanel extends HTMLElement {
  connectedCallback() {
    this.listener = (event) => this.open(event.detail);
    document.addEventListener("holdfast:span", this.listener);
    this.addEventListener("click", (event) => { if (event.target.closest("[data-close-span]")) this.close(); });
  }

  disconnectedCallback() {
    document.removeEventListener("holdfast:span", this.listener);
    this.abort?.abort();
  }

  async open({ node, address, page }) {
    this.abort?.abort();
    if (!node) return this.close();
    if (node.isRun) return this.show(this.ofRun(node, page));
    const abort = (this.abort = new AbortController());
    const answer = await fetch(address, { headers: { "HX-Request": "true" }, signal: abort.signal }).catch(() => null);
    if (abort.signal.aborted) return undefined;
    if (!answer?.ok) return this.show(make("p", { className: "p-4 text-muted" }, answer?.status === 404 ? "This span is not kept any more." : "This could not be loaded."));
    const range = document.createRange();
    return this.show(range.createContextualFragment(await answer.text()));
  }

  ofRun(node, page) {
    const close = make("button", { type: "button", className: "button button-quiet button-icon button-sm", ariaLabel: "Back to the run" }, icon("x"));
    close.dataset.closeSpan = "";
    const title = make("div", { className: "min-w-0 flex-1" }, make("p", { className: "text-2xs font-medium text-faint" }, "Run"), make("h3", { className: "truncate font-semibold" }, node.name));
    const status = make("span", { className: `badge tone-${node.tone}` }, icon(node.icon), node.label);
    const link = make("a", { className: "button button-sm", href: page }, "Open this run", icon("arrow-right"));
    return make(
      "section", { className: "flex flex-col border-b border-line" },
      make("header", { className: "flex items-start gap-2 border-b border-line px-4 py-3" }, title, close),
      make("div", { className: "flex items-center justify-between gap-2 px-4 py-3" }, status, link),
    );
  }

  show(content) {
    this.replaceChildren(content);
    this.hidden = false;
    const details = document.getElementById("run-details");
    if (details) details.hidden = true;
    htmx.process(this);
    return undefined;
  }

  close() {
    this.hidden = true;
    this.replaceChildren();
    const details = document.getElementById("run-details");
    if (details) details.hidden = false;
    document.querySelector("trace-tree")?.unselect?.();
  }
}
customElements.define("span-panel", SpanPanel);

// A refreshed page keeps showing the span that was chosen.
document.addEventListener("htmx:after:swap", () => {
  const panel = document.querySelector("span-panel");
  const details = document.getElementById("run-details");
  if (panel && details) details.hidden = !panel.hidden;
});

/** <replay-form>: says whether the payload is JSON as one writes it, and whether it was changed. */
class ReplayForm extends HTMLElement {
  connectedCallback() {
    const field = this.querySelector("textarea");
    const hint = this.querySelector("#replay-hint");
    const edited = this.querySelector('[name="is_edited"]');
    field.addEventListener("input", () => {
      edited.value = field.value === field.defaultValue ? "" : "yes";
      let problem = "";
      try {
        JSON.parse(field.value);
      } catch (error) {
        problem = `Not JSON: ${error.message}`;
      }
      field.setCustomValidity(problem);
      field.ariaInvalid = String(Boolean(problem));
      hint.textContent = problem || (edited.value ? "The replay gets this payload." : "Unchanged, the run gets the very payload of this one.");
      hint.classList.toggle("text-bad", Boolean(problem));
    });
  }
}
customElements.define("replay-form", ReplayForm);

delegate("click", "[data-copy-from]", async (button) => {
  try {
    const answer = await fetch(button.dataset.copyFrom);
    if (!answer.ok) throw new Error(String(answer.status));
    await navigator.clipboard.writeText(await answer.text());
    toast("Copied.", "ok");
  } catch {
    toast("It could not be copied.", "warn");
  }
  button.closest("[popover]")?.hidePopover();
});
