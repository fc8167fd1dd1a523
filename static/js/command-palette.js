// <command-palette data-src>: ⌘K; pages, tasks and environments by name, runs by id.
import { delegate, icon, make } from "holdfast/dom";

const SHOWN = 40;

function score(entry, words) {
  const text = `${entry.title} ${entry.hint ?? ""} ${entry.kind}`.toLowerCase();
  if (!words.every((word) => text.includes(word))) return -1;
  return words.reduce((sum, word) => sum + (entry.title.toLowerCase().startsWith(word) ? 2 : 1), 0);
}

class CommandPalette extends HTMLElement {
  connectedCallback() {
    this.open = this.open.bind(this);
    document.addEventListener("holdfast:palette", this.open);
  }

  disconnectedCallback() {
    document.removeEventListener("holdfast:palette", this.open);
  }

  async open() {
    if (!this.dataset.src) return;
    if (!this.dialog) this.build();
    if (this.dialog.open) return;
    this.field.value = "";
    this.show();
    this.dialog.showModal();
    if (this.entries) return;
    const answer = await fetch(this.dataset.src, { headers: { Accept: "application/json" } }).catch(() => null);
    this.entries = answer?.ok ? (await answer.json()).entries : [];
    this.show();
  }

  build() {
    this.field = make("input", {
      type: "text", id: "palette-field", placeholder: "Search pages, tasks and environments, or paste a run id", autocomplete: "off",
      className: "h-12 w-full bg-transparent text-base outline-none", role: "combobox",
      ariaLabel: "Search", ariaExpanded: "true", "aria-controls": "palette-list", "aria-autocomplete": "list",
    });
    this.list = make("div", { id: "palette-list", role: "listbox", ariaLabel: "Results", className: "max-h-[min(24rem,60dvh)] overflow-y-auto p-1.5" });
    const head = make("div", { className: "flex items-center gap-2.5 border-b border-line px-4" }, icon("search", "text-faint"), this.field);
    this.dialog = make("dialog", { className: "dialog w-[min(38rem,calc(100vw-2rem))] mt-[14dvh]!", ariaLabel: "Search and go anywhere" }, head, this.list);
    this.append(this.dialog);
    this.field.addEventListener("input", () => this.show());
    this.field.addEventListener("keydown", (event) => this.press(event));
    this.list.addEventListener("pointermove", (event) => {
      const option = event.target.closest('[role="option"]');
      if (option && option !== this.current) this.select(option);
    });
  }

  get options() {
    return [...this.list.querySelectorAll('[role="option"]')];
  }

  get current() {
    return this.list.querySelector('[aria-selected="true"]');
  }

  show() {
    const text = this.field.value.trim();
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = (this.entries ?? []).map((entry) => [score(entry, words), entry]).filter(([rank]) => rank >= 0);
    if (words.length) found.sort((one, other) => other[0] - one[0]);
    const shown = found.slice(0, SHOWN).map(([, entry]) => entry);
    if (/^run_[0-9a-z]{26}$/.test(text)) shown.unshift({ title: text, kind: "Run", icon: "activity", href: this.run(text) });
    this.list.replaceChildren(...this.groups(shown, Boolean(words.length)));
    if (this.options[0]) this.select(this.options[0]);
  }

  run(id) {
    return this.dataset.src.replace(/palette$/, `runs/${id}`);
  }

  groups(entries, isRanked) {
    // a pasted id needs no list: it can be gone to while the list is on its way
    if (!entries.length) {
      return [make("p", { className: "p-4 text-muted" }, this.entries ? "Nothing has this name." : "Loading …")];
    }
    let kind;
    return entries.flatMap((entry, index) => {
      const option = this.option(entry, index);
      if (isRanked || entry.kind === kind) return [option];
      kind = entry.kind;
      return [make("div", { className: "menu-label", role: "presentation" }, kind), option];
    });
  }

  option(entry, index) {
    const hint = make("span", { className: "flex-none text-xs text-faint" }, entry.hint ?? "");
    const title = make("span", { className: "min-w-0 flex-1 truncate" }, entry.title);
    return make("a", { href: entry.href, id: `palette-${index}`, role: "option", tabIndex: -1, className: "menu-item" }, icon(entry.icon), title, hint);
  }

  select(option) {
    this.current?.setAttribute("aria-selected", "false");
    option.setAttribute("aria-selected", "true");
    this.field.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  press(event) {
    const options = this.options;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && options.length) {
      event.preventDefault();
      this.select(options[(options.indexOf(this.current) + by + options.length) % options.length]);
    } else if (event.key === "Enter" && this.current) {
      event.preventDefault();
      this.current.click();
    }
  }
}
customElements.define("command-palette", CommandPalette);
delegate("click", '[data-command="palette"]', () => document.dispatchEvent(new CustomEvent("holdfast:palette")));
