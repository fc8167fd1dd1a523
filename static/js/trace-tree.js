// <trace-tree data-src>: a run and all below it as one waterfall. Only the rows in sight are in the
// page, so thousands of spans cost what thirty do. Arrows walk and fold, + - 0 zoom, e shows errors.
import { icon, make } from "holdfast/dom";
import { length } from "holdfast/lengths";

const ROW = 30;
const SPARE = 8;
const MOST_SPANS = 25000;
const POLL_MS = 2500;
const FOLD_FROM = 200; // children of one span, from which they begin folded
const ICONS = { attempt: "play", wait: "hourglass", step: "git-commit-horizontal" };

class TraceTree extends HTMLElement {
  connectedCallback() {
    this.nodes = new Map();
    this.folded = new Map();
    this.view = null;
    this.rows = [];
    this.pool = [];
    this.bars = new Map();
    this.draw();
    this.onChanged = () => this.soon(300);
    this.onVisibility = () => { if (!document.hidden) this.poll(); };
    this.resized = new ResizeObserver(() => this.show());
    this.resized.observe(this.frame);
    document.addEventListener("holdfast:changed", this.onChanged);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.poll();
  }

  disconnectedCallback() {
    document.removeEventListener("holdfast:changed", this.onChanged);
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.resized.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.growing);
    cancelAnimationFrame(this.drawing);
    this.nodes.clear();
    this.pool = [];
  }

  // -- Its parts ------------------------------------------------------------------------------

  draw() {
    const button = (name, label, act) => {
      const made = make("button", { type: "button", className: "button button-quiet button-icon button-sm", title: label, ariaLabel: label }, icon(name));
      made.addEventListener("click", act);
      return made;
    };
    const search = make("input", { type: "search", className: "control", placeholder: "Search spans", ariaLabel: "Search spans" });
    search.addEventListener("input", () => { this.words = search.value.trim().toLowerCase(); this.flatten(); });
    this.errors = make("button", { type: "button", className: "button button-sm toggle", ariaPressed: "false" }, icon("circle-alert"), "Errors");
    this.errors.addEventListener("click", () => this.toggleErrors());
    this.note = make("span", { className: "bar-note", role: "status" });
    const zoom = make("span", { className: "bar-group" }, button("minus", "Zoom out", () => this.zoom(2)), button("plus", "Zoom in", () => this.zoom(0.5)), button("refresh-cw", "Show all of the time", () => this.fit()));
    const bar = make("div", { className: "bar" }, make("span", { className: "bar-title" }, "Trace"), this.note, make("span", { className: "bar-space" }), zoom, search, this.errors);
    this.ticks = make("div", { className: "ticks", title: "Drag to zoom" });
    this.ruler = make("div", { className: "ruler", ariaHidden: "true" }, make("div", {}, "Span"), this.ticks);
    this.canvas = make("div", { className: "canvas", role: "presentation" });
    this.frame = make("div", { className: "frame", tabIndex: 0, role: "tree", ariaLabel: "Spans" }, this.canvas);
    this.replaceChildren(bar, this.ruler, this.frame);
    this.frame.addEventListener("scroll", () => this.show(), { passive: true });
    this.frame.addEventListener("keydown", (event) => this.press(event));
    this.frame.addEventListener("click", (event) => this.clicked(event));
    this.frame.addEventListener("dblclick", (event) => this.focusOn(this.nodeOf(event.target)));
    this.frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.ticks.addEventListener("pointerdown", (event) => this.drag(event));
  }

  // -- What is known --------------------------------------------------------------------------

  get isFinal() {
    return Boolean(document.getElementById("run-state")?.dataset.final);
  }

  soon(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), milliseconds);
  }

  async poll() {
    if (this.isPolling || document.hidden || !this.isConnected) return;
    this.isPolling = true;
    let isDone = false;
    try {
      isDone = await this.load();
    } finally {
      this.isPolling = false;
    }
    if (!this.isFinal || !isDone) this.rounds = 4; // spans come a little after the run has ended
    if (this.isConnected && (this.rounds = (this.rounds ?? 2) - 1) >= 0) this.soon(POLL_MS);
  }

  /** Reads on; whether there was all. */
  async load() {
    let after = this.arrived;
    for (;;) {
      const address = new URL(this.dataset.src, location.href);
      if (after) address.searchParams.set("after", after);
      const answer = await fetch(address, { headers: { accept: "application/json" } }).catch(() => null);
      if (!this.isConnected) return true;
      if (!answer?.ok) {
        this.say("The trace cannot be read at the moment");
        return false;
      }
      const found = await answer.json();
      if (!this.isConnected) return true;
      this.take(found);
      if (!found.next || this.nodes.size >= MOST_SPANS) {
        this.arrived = found.latest;
        return found.available;
      }
      after = found.next;
    }
  }

  take(found) {
    this.offset = Date.now() * 1000 - found.now;
    this.isAvailable = found.available;
    this.isCut = found.truncated || this.nodes.size >= MOST_SPANS;
    for (const run of found.runs) this.put({ ...run, kind: "run", isRun: true, of: run.run });
    for (const span of found.spans) {
      const known = this.nodes.get(span.id);
      if (known?.final && !span.final) continue;
      if (known || this.nodes.size < MOST_SPANS) this.put(span);
    }
    this.arrange();
  }

  put(span) {
    const known = this.nodes.get(span.id);
    if (known) Object.assign(known, span);
    else this.nodes.set(span.id, { ...span, children: [], depth: 0 });
  }

  arrange() {
    const nodes = this.nodes;
    const root = [...nodes.values()].find((node) => node.isRun && node.run === this.dataset.run);
    for (const node of nodes.values()) node.children = [];
    for (const node of nodes.values()) {
      if (node === root) continue;
      const above = node.isRun ? nodes.get(node.caller) ?? nodes.get(node.parent) ?? root : nodes.get(node.parent) ?? nodes.get(node.run) ?? root;
      (above === node ? root : above)?.children.push(node);
    }
    for (const node of nodes.values()) if (node.children.length > 1) node.children.sort((one, other) => one.start - other.start);
    this.root = root;
    this.flatten();
  }

  end(node) {
    if (node.final || !node.isRun && this.ended(node)) return node.start + node.length;
    return Math.max(node.start + node.length, Date.now() * 1000 - (this.offset ?? 0));
  }

  /** A span that has only begun is over when its run is. */
  ended(node) {
    return this.nodes.get(node.run)?.final ?? true;
  }

  isLive(node) {
    return !node.final && !(node.isRun ? false : this.ended(node));
  }

  // -- What is shown --------------------------------------------------------------------------

  flatten() {
    this.rows = [];
    this.bounds = [Infinity, -Infinity];
    if (this.root) this.walk();
    const all = this.nodes.size;
    if (!this.view || this.view.isAll) this.view = { from: this.bounds[0], to: this.bounds[1], isAll: true };
    const errors = [...this.nodes.values()].filter((node) => this.isError(node)).length;
    this.errors.lastChild.textContent = errors ? `Errors ${errors}` : "Errors";
    this.errors.disabled = !errors && !this.onlyErrors;
    this.say(
      !this.isAvailable && this.root ? "Only the runs: ClickHouse does not answer"
        : this.isCut ? `The first ${all.toLocaleString("en")} spans` : all > 1 ? `${all.toLocaleString("en")} spans` : "",
    );
    this.canvas.style.height = `${this.rows.length * ROW}px`;
    this.frame.style.height = `${Math.max(4, this.rows.length) * ROW + 2}px`;
    this.show();
    this.grow();
  }

  isError(node) {
    return node.isRun ? node.tone === "bad" : node.status === "error";
  }

  wanted(node) {
    return (!this.onlyErrors || this.isError(node)) && (!this.words || node.name.toLowerCase().includes(this.words) || node.of?.includes(this.words));
  }

  walk() {
    const isFiltered = Boolean(this.words || this.onlyErrors);
    const kept = isFiltered ? this.kept() : null;
    const waiting = [[this.root, 0]];
    const seen = new Set();
    while (waiting.length) {
      const [node, depth] = waiting.pop();
      if (seen.has(node)) continue;
      seen.add(node);
      this.bounds[0] = Math.min(this.bounds[0], node.start);
      this.bounds[1] = Math.max(this.bounds[1], this.end(node));
      if (kept && !kept.has(node)) continue;
      node.depth = depth;
      this.rows.push(node);
      const isFolded = !isFiltered && this.isFolded(node);
      if (isFolded) { this.reach(node); continue; }
      for (let index = node.children.length - 1; index >= 0; index--) waiting.push([node.children[index], depth + 1]);
    }
  }

  /** Folded spans count for the length of the whole, too. */
  reach(node) {
    const waiting = [...node.children];
    const seen = new Set([node]);
    while (waiting.length) {
      const child = waiting.pop();
      if (seen.has(child)) continue;
      seen.add(child);
      this.bounds[1] = Math.max(this.bounds[1], this.end(child));
      waiting.push(...child.children);
    }
  }

  /** What matches, with all that is above it. */
  kept() {
    const kept = new Set();
    const visit = (node, above) => {
      if (above.includes(node)) return;
      const path = [...above, node];
      if (this.wanted(node)) path.forEach((each) => kept.add(each));
      node.children.forEach((child) => visit(child, path));
    };
    if (this.root) visit(this.root, []);
    return kept;
  }

  isFolded(node) {
    return this.folded.get(node.id) ?? node.children.length >= FOLD_FROM;
  }

  show() {
    cancelAnimationFrame(this.drawing);
    this.drawing = requestAnimationFrame(() => this.paint());
  }

  paint() {
    if (!this.isConnected) return;
    const first = Math.max(0, Math.floor(this.frame.scrollTop / ROW) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.frame.scrollTop + this.frame.clientHeight) / ROW) + SPARE);
    const count = Math.max(0, last - first);
    while (this.pool.length < count) this.pool.push(this.blank());
    for (const [index, row] of this.pool.entries()) {
      const node = index < count ? this.rows[first + index] : null;
      row.hidden = !node;
      if (node) this.fill(row, node, first + index);
    }
    if (this.pool.length > count + 60) this.pool.splice(count + 30).forEach((row) => row.remove());
    this.paintRuler();
    const active = this.selected && this.rows.includes(this.selected) ? `span-${this.selected.id}` : "";
    if (active) this.frame.setAttribute("aria-activedescendant", active);
    else this.frame.removeAttribute("aria-activedescendant");
  }

  blank() {
    const row = make("div", { className: "span", role: "treeitem" });
    row.parts = {
      indent: make("span", { className: "indent" }), twist: make("span", { className: "twist" }, icon("chevron-right")),
      mark: make("span", {}), name: make("span", { className: "span-name" }), more: make("span", { className: "span-more" }),
      wait: make("span", { className: "bar-wait" }), bar: make("span", { className: "bar-span" }), text: make("span", { className: "bar-text" }),
      lines: make("span", {}),
    };
    const { indent, twist, mark, name, more, wait, bar, text, lines } = row.parts;
    row.append(make("div", { className: "span-head" }, indent, twist, mark, name, more), make("div", { className: "span-track" }, lines, wait, bar, text));
    this.canvas.append(row);
    return row;
  }

  fill(row, node, index) {
    const { indent, twist, mark, name, more, wait, bar, text } = row.parts;
    const hasMore = node.children.length > 0;
    const isOpen = hasMore && (this.words || this.onlyErrors || !this.isFolded(node));
    const tone = node.isRun ? node.tone : this.isError(node) ? "bad" : node.level === "WARN" ? "warn" : "accent";
    const classes = `span tone-${tone}${node.isRun ? " is-run" : ""}${this.words && this.wanted(node) ? " is-match" : ""}`;
    if (row.className !== classes) row.className = classes;
    row.style.transform = `translateY(${index * ROW}px)`;
    if (row.node !== node) {
      row.node = node;
      row.id = `span-${node.id}`;
    }
    const kind = node.isRun ? node.icon : this.isError(node) ? "circle-x" : ICONS[this.sort(node)] ?? "circle-dot";
    if (mark.dataset.kind !== kind) {
      mark.dataset.kind = kind;
      mark.replaceChildren(icon(kind, `span-mark ${kind === "loader-circle" ? "animate-spin" : ""}`));
      mark.className = "flex-none inline-flex";
    }
    indent.style.width = `${node.depth * 14}px`;
    twist.style.visibility = hasMore ? "" : "hidden";
    if (name.textContent !== node.name) name.textContent = node.name;
    name.title = node.name;
    more.hidden = !hasMore || isOpen;
    if (!more.hidden) more.textContent = String(node.children.length);
    row.setAttribute("aria-level", String(node.depth + 1));
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-setsize", String(this.rows.length));
    row.setAttribute("aria-selected", String(node === this.selected));
    if (hasMore) row.setAttribute("aria-expanded", String(Boolean(isOpen)));
    else row.removeAttribute("aria-expanded");
    this.place(row, node, wait, bar, text);
  }

  place(row, node, wait, bar, text) {
    const { from, to } = this.view;
    const whole = Math.max(1, to - from);
    const begun = node.isRun ? node.started : node.start;
    const end = this.end(node);
    const at = (moment) => (moment - from) / whole * 100;
    const left = at(begun ?? end), right = Math.max(left, at(end));
    bar.style.left = `${Math.max(-1, left)}%`;
    bar.style.width = `${Math.min(101, right) - Math.max(-1, left)}%`;
    bar.hidden = right < 0 || left > 100 || begun === null;
    bar.classList.toggle("is-live", this.isLive(node));
    const isWaiting = node.isRun && (begun === null || begun - node.start > whole / 400);
    wait.hidden = !isWaiting;
    if (isWaiting) {
      wait.style.left = `${Math.max(0, at(node.start))}%`;
      wait.style.width = `${Math.max(0, Math.min(100, left) - Math.max(0, at(node.start)))}%`;
    }
    const label = node.isRun && begun === null ? node.label : length(end - (begun ?? node.start));
    if (text.textContent !== label) text.textContent = label;
    text.hidden = right < 0 || left > 100;
    const isRight = right < 82;
    text.style.left = isRight ? `${Math.max(0, right)}%` : "";
    text.style.right = isRight ? "" : `${Math.min(100, Math.max(0, 100 - left))}%`;
    const isInside = !isRight && left < 18; // there is room in the bar only
    if (isInside) text.style.right = `${Math.max(0, 100 - right)}%`;
    text.style.color = isInside ? "var(--color-surface)" : "";
  }

  sort(node) {
    if (/^attempt \d+$/.test(node.name)) return "attempt";
    if (/^wait/.test(node.name)) return "wait";
    return /^step/.test(node.name) ? "step" : "";
  }

  paintRuler() {
    const { from, to } = this.view ?? {};
    if (!Number.isFinite(from)) return;
    const whole = Math.max(1, to - from);
    const wanted = Math.max(2, Math.floor(this.ticks.clientWidth / 90));
    const rough = whole / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const origin = this.root.start;
    const marks = [];
    for (let at = Math.ceil((from - origin) / step) * step; at + origin <= to; at += step) marks.push(at);
    const key = marks.join() + from + to;
    if (key === this.ruled) return;
    this.ruled = key;
    this.ticks.replaceChildren(...marks.map((at) => {
      const mark = make("span", { className: "tick" }, at === 0 ? "0" : length(at));
      mark.style.left = `${(at + origin - from) / whole * 100}%`;
      return mark;
    }));
  }

  /** What is under way grows by the second. */
  grow() {
    clearTimeout(this.growing);
    if (![...this.nodes.values()].some((node) => this.isLive(node) || (node.isRun && !node.final))) return;
    this.growing = setTimeout(() => { if (document.hidden) this.grow(); else this.flatten(); }, 1000);
  }

  say(text) {
    if (this.note.textContent !== text) this.note.textContent = text;
  }

  // -- What is done with it -------------------------------------------------------------------

  nodeOf(target) {
    return target.closest?.(".span")?.node;
  }

  clicked(event) {
    const node = this.nodeOf(event.target);
    if (!node) return;
    if (event.target.closest(".twist") && node.children.length) this.fold(node, !this.isFolded(node));
    else this.select(node);
  }

  fold(node, isFolded) {
    this.folded.set(node.id, isFolded);
    this.flatten();
  }

  select(node) {
    this.selected = node;
    this.show();
    const address = this.dataset.span.replace(this.dataset.run, node.of).replace("SPAN", node.id);
    const isOwn = node.isRun && node.run === this.dataset.run;
    const page = node.isRun ? this.dataset.page.replace(this.dataset.run, node.run) : "";
    document.dispatchEvent(new CustomEvent("holdfast:span", { detail: { node: isOwn ? null : node, address, page } }));
  }

  unselect() {
    this.selected = null;
    this.show();
  }

  toggleErrors() {
    this.onlyErrors = !this.onlyErrors;
    this.errors.ariaPressed = String(this.onlyErrors);
    this.flatten();
  }

  press(event) {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const act = {
      ArrowDown: () => this.step(1), ArrowUp: () => this.step(-1), j: () => this.step(1), k: () => this.step(-1),
      PageDown: () => this.step(10), PageUp: () => this.step(-10), Home: () => this.step(-Infinity), End: () => this.step(Infinity),
      ArrowRight: () => this.unfold(), ArrowLeft: () => this.up(), Enter: () => this.selected && this.select(this.selected),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.fit(), e: () => this.toggleErrors(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  step(by) {
    const index = this.rows.indexOf(this.selected);
    const next = this.rows[Math.max(0, Math.min(this.rows.length - 1, index + by))];
    if (next) this.go(next);
  }

  go(node) {
    this.select(node);
    const top = this.rows.indexOf(node) * ROW;
    if (top < this.frame.scrollTop) this.frame.scrollTop = top;
    else if (top + ROW > this.frame.scrollTop + this.frame.clientHeight) this.frame.scrollTop = top + ROW - this.frame.clientHeight;
  }

  unfold() {
    const node = this.selected;
    if (!node?.children.length) return;
    if (this.isFolded(node)) this.fold(node, false);
    else this.step(1);
  }

  up() {
    const node = this.selected;
    if (!node) return;
    if (node.children.length && !this.isFolded(node)) this.fold(node, true);
    else {
      const above = this.rows.slice(0, this.rows.indexOf(node)).findLast((each) => each.depth < node.depth);
      if (above) this.go(above);
    }
  }

  // -- Time -----------------------------------------------------------------------------------

  /** Where in what is shown the chosen span is: zooming keeps it in sight. */
  get center() {
    const node = this.selected;
    if (!node) return 0.5;
    const begun = (node.isRun ? node.started : node.start) ?? node.start;
    const at = ((begun + this.end(node)) / 2 - this.view.from) / (this.view.to - this.view.from);
    return at >= 0 && at <= 1 ? at : 0.5;
  }

  zoom(factor, at = this.center) {
    const { from, to } = this.view;
    const middle = from + (to - from) * at;
    this.look(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }

  look(from, to) {
    const [least, most] = this.bounds;
    const width = Math.max(50, to - from);
    if (width >= most - least) return this.fit();
    const begin = Math.max(least, Math.min(from, most - width));
    this.view = { from: begin, to: begin + width, isAll: false };
    this.show();
  }

  fit() {
    this.view = { from: this.bounds[0], to: this.bounds[1], isAll: true };
    this.show();
  }

  focusOn(node) {
    if (!node) return;
    const begin = (node.isRun ? node.started : node.start) ?? node.start;
    const margin = (this.end(node) - begin) * 0.05;
    this.look(begin - margin, this.end(node) + margin);
  }

  wheel(event) {
    const box = this.ticks.getBoundingClientRect();
    if (event.ctrlKey) {
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = (event.deltaX || event.deltaY) / box.width * (this.view.to - this.view.from);
      this.look(this.view.from + by, this.view.to + by);
    }
  }

  drag(event) {
    const box = this.ticks.getBoundingClientRect();
    const chosen = make("span", { className: "chosen" });
    const begin = event.clientX;
    this.ticks.setPointerCapture(event.pointerId);
    const move = (to) => {
      chosen.style.left = `${Math.min(begin, to) - box.left}px`;
      chosen.style.width = `${Math.abs(to - begin)}px`;
      if (!chosen.isConnected) this.ticks.append(chosen);
    };
    const moved = (each) => move(each.clientX);
    const ended = (each) => {
      this.ticks.removeEventListener("pointermove", moved);
      chosen.remove();
      const share = (x) => (x - box.left) / box.width;
      const [left, right] = [share(begin), share(each.clientX)].sort((a, b) => a - b);
      const { from, to } = this.view;
      if ((right - left) * box.width > 4) this.look(from + left * (to - from), from + right * (to - from));
    };
    this.ticks.addEventListener("pointermove", moved);
    this.ticks.addEventListener("pointerup", ended, { once: true });
  }
}
customElements.define("trace-tree", TraceTree);
