// <saved-filters>: the visitor's own views of the run list, kept in this browser, as chips.
import { delegate, icon, make } from "holdfast/dom";
import { toast } from "holdfast/toasts";

const MOST = 12;

class SavedFilters extends HTMLElement {
  connectedCallback() {
    this.render();
  }

  get place() {
    return `holdfast:views:${this.dataset.keyOf}`;
  }

  get views() {
    try {
      return JSON.parse(localStorage.getItem(this.place)) ?? [];
    } catch {
      return [];
    }
  }

  set views(views) {
    localStorage.setItem(this.place, JSON.stringify(views.slice(-MOST)));
    this.render();
  }

  save(name, query) {
    this.views = [...this.views.filter((view) => view.name !== name), { name, query }];
  }

  render() {
    this.replaceChildren(...this.views.map(({ name, query }) => {
      const isHere = query === location.search;
      const link = make("a", { href: `${this.dataset.at}${query}`, className: "max-w-40 truncate hover:text-ink" }, name);
      if (isHere) link.setAttribute("aria-current", "page");
      const remove = make("button", { type: "button", className: "grid size-5 place-items-center rounded-sm hover:bg-pressed hover:text-ink", ariaLabel: `Forget the view ${name}` }, icon("x", "size-3!"));
      remove.addEventListener("click", () => { this.views = this.views.filter((view) => view.name !== name); });
      return make("span", { className: `badge h-6 gap-1 pr-0.5 ${isHere ? "tone-accent" : ""}` }, link, remove);
    }));
  }
}
customElements.define("saved-filters", SavedFilters);

function ask(button) {
  const field = make("input", { className: "control h-7 min-h-7 w-44 py-0.5", ariaLabel: "Name of the view", placeholder: "Name of the view", maxLength: 40 });
  let isDone = false; // to be taken away blurs the field, too
  const done = () => {
    if (isDone) return;
    isDone = true;
    field.replaceWith(button);
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") done();
    if (event.key !== "Enter") return;
    event.preventDefault();
    const name = field.value.trim();
    if (!name) return;
    document.querySelector("saved-filters").save(name, location.search);
    toast(`“${name}” is kept in this browser.`, "ok");
    done();
  });
  field.addEventListener("blur", done);
  button.replaceWith(field);
  field.focus();
}

// What is not filtered by does not belong into the address.
document.addEventListener("htmx:config:request", (event) => {
  const { body } = event.detail.ctx.request;
  if (event.target.id !== "filters" || !body?.keys) return;
  for (const name of new Set(body.keys())) {
    const values = body.getAll(name).filter(Boolean);
    body.delete(name);
    values.forEach((value) => body.append(name, value));
  }
});

delegate("click", "[data-save-filters]", ask);
delegate("click", "[data-with-query]", (link) => {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of new URLSearchParams(link.dataset.withQuery)) query.set(name, value);
  link.search = query;
});
document.addEventListener("htmx:after:history:update", () => document.querySelectorAll("saved-filters").forEach((each) => each.render()));
