// <row-list>: j/k walk the rows of a table, Enter opens one, x selects it, Shift takes a range.
import { isTyping } from "holdfast/dom";

class RowList extends HTMLElement {
  connectedCallback() {
    this.press = this.press.bind(this);
    document.addEventListener("keydown", this.press);
    this.addEventListener("change", (event) => this.changed(event));
    this.addEventListener("click", (event) => {
      this.isRange = event.shiftKey;
      if (event.target.closest("[data-clear]")) this.clear();
    });
    this.observer = new MutationObserver(() => this.count());
    this.observer.observe(this, { childList: true, subtree: true });
    this.count();
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.press);
    this.observer.disconnect();
  }

  get rows() {
    return [...this.querySelectorAll("tbody tr[data-row]")];
  }

  get boxes() {
    return [...this.querySelectorAll('tbody input[type="checkbox"]')];
  }

  press(event) {
    if (isTyping(event) || event.metaKey || event.ctrlKey || event.altKey) return;
    if (document.querySelector("dialog[open], :popover-open")) return;
    const current = this.querySelector("tr[data-current]");
    if (event.key === "j") this.walk(current, 1);
    else if (event.key === "k") this.walk(current, -1);
    else if (event.key === "Enter" && current && !event.target.closest("a, button")) current.querySelector("a.row-link")?.click();
    else if (event.key === "x" && current) this.toggle(current);
    else if (event.key === "Escape") this.clear();
    else return;
    if (event.key !== "Enter" && event.key !== "Escape") event.preventDefault();
  }

  walk(current, by) {
    const rows = this.rows;
    if (!rows.length) return;
    const index = current ? rows.indexOf(current) + by : by > 0 ? 0 : rows.length - 1;
    const next = rows[Math.max(0, Math.min(index, rows.length - 1))];
    current?.removeAttribute("data-current");
    next.setAttribute("data-current", "");
    next.querySelector("a.row-link")?.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  toggle(row) {
    row.querySelector('input[type="checkbox"]')?.click();
  }

  clear() {
    for (const box of this.boxes) box.checked = false;
    this.querySelector("tr[data-current]")?.removeAttribute("data-current");
    this.count();
  }

  changed(event) {
    const box = event.target;
    if (box.matches("[data-all]")) this.boxes.forEach((each) => { each.checked = box.checked; });
    else if (this.isRange && this.latest) this.range(this.latest, box);
    this.latest = box;
    this.count();
  }

  range(one, other) {
    const boxes = this.boxes;
    const [from, to] = [boxes.indexOf(one), boxes.indexOf(other)].sort((a, b) => a - b);
    boxes.slice(from, to + 1).forEach((each) => { each.checked = other.checked; });
  }

  count() {
    const chosen = this.boxes.filter((box) => box.checked);
    for (const box of this.boxes) {
      const row = box.closest("tr");
      if ((row.ariaSelected === "true") !== box.checked) row.ariaSelected = String(box.checked);
    }
    const all = this.querySelector("[data-all]");
    if (all) {
      all.checked = chosen.length > 0 && chosen.length === this.boxes.length;
      all.indeterminate = chosen.length > 0 && !all.checked;
    }
    const bar = this.querySelector("[data-bulk]");
    if (bar) bar.hidden = chosen.length === 0;
    for (const place of document.querySelectorAll("[data-count]")) {
      const text = String(chosen.length);
      if (place.textContent !== text) place.textContent = text;
    }
  }
}
customElements.define("row-list", RowList);
