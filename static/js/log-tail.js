// <log-tail data-src data-file>: the log of a run from its end. It follows what comes while the last
// line is in sight, goes back on scrolling up, and keeps no more lines in the page than it shows.
import { icon, make } from "holdfast/dom";

const MOST_LINES = 1000;
const POLL_MS = 2000;
const LOOK_BACK_MS = 3000;
const EDGE_PX = 120;
const TONES = { ERROR: "bad", FATAL: "bad", WARN: "warn", INFO: "info", LOG: "info", DEBUG: "idle", TRACE: "idle" };
const CHOICES = [["", "All levels"], ["INFO,LOG,WARN,ERROR,FATAL", "Info and above"], ["WARN,ERROR,FATAL", "Warnings and errors"], ["ERROR,FATAL", "Errors"]];

class LogTail extends HTMLElement {
  connectedCallback() {
    this.known = new Map(); // by place: what is in the page, in order
    this.isFollowing = true;
    this.draw();
    this.onChanged = () => this.soon(400);
    this.onVisibility = () => { if (!document.hidden) this.poll(); };
    document.addEventListener("holdfast:changed", this.onChanged);
    document.addEventListener("visibilitychange", this.onVisibility);
    this.restart();
  }

  disconnectedCallback() {
    document.removeEventListener("holdfast:changed", this.onChanged);
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearTimeout(this.timer);
    clearTimeout(this.typing);
    this.round = null;
    this.known.clear();
  }

  draw() {
    const levels = make("select", { className: "control w-auto! min-h-7! py-0.5! text-xs!", ariaLabel: "Levels" });
    for (const [value, text] of CHOICES) levels.append(make("option", { value }, text));
    const search = make("input", { type: "search", className: "control", placeholder: "Search the log", ariaLabel: "Search the log" });
    this.follow = make("button", { type: "button", className: "button button-sm toggle", ariaPressed: "true" }, icon("arrow-down"), "Follow");
    this.file = make("a", { className: "button button-quiet button-sm button-icon", title: "Download the log", ariaLabel: "Download the log", href: this.dataset.file, download: "" }, icon("download"));
    this.note = make("span", { className: "bar-note", role: "status" });
    const bar = make("div", { className: "bar" }, make("span", { className: "bar-title" }, "Logs"), this.note, make("span", { className: "bar-space" }), levels, search, this.follow, this.file);
    this.frame = make("div", { className: "frame", tabIndex: 0, role: "log", ariaLabel: "Log lines", ariaLive: "off" });
    this.replaceChildren(bar, this.frame);
    levels.addEventListener("change", () => { this.levels = levels.value; this.restart(); });
    search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => { this.search = search.value; this.restart(); }, 250);
    });
    this.follow.addEventListener("click", () => this.setFollowing(!this.isFollowing));
    this.frame.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  get isFinal() {
    return Boolean(document.getElementById("run-state")?.dataset.final);
  }

  setFollowing(isOn) {
    this.isFollowing = isOn;
    this.follow.ariaPressed = String(isOn);
    if (!isOn) return;
    if (this.isCutBelow) this.restart();
    else this.frame.scrollTop = this.frame.scrollHeight;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.frame;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 24;
    if (this.isFollowing && !isAtEnd && scrollTop < (this.latestTop ?? 0)) this.setFollowing(false);
    else if (!this.isFollowing && isAtEnd && !this.isCutBelow) this.setFollowing(true);
    this.latestTop = scrollTop;
    if (scrollTop < EDGE_PX && this.hasOlder) this.older();
    if (isAtEnd && this.isCutBelow) this.newer();
  }

  address(parameters) {
    const address = new URL(this.dataset.src, location.href);
    for (const level of (this.levels ?? "").split(",").filter(Boolean)) address.searchParams.append("level", level);
    if (this.search) address.searchParams.set("search", this.search);
    this.file.href = `${this.dataset.file}${address.search}`;
    for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
    return address;
  }

  async ask(parameters) {
    const round = this.round;
    const answer = await fetch(this.address(parameters), { headers: { accept: "application/json" } }).catch(() => null);
    if (round !== this.round || !this.isConnected) return null;
    if (!answer?.ok) return { lines: [], available: answer ? answer.status < 500 : false, more: false };
    const found = await answer.json();
    return round === this.round && this.isConnected ? found : null;
  }

  async restart() {
    this.round = {};
    this.known.clear();
    this.frame.replaceChildren();
    this.isCutBelow = false;
    this.isFollowing = true;
    this.follow.ariaPressed = "true";
    const found = await this.ask({});
    if (!found) return;
    this.hasOlder = found.more;
    this.add(found.lines);
    this.tell(found);
    this.soon(POLL_MS);
  }

  soon(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), milliseconds);
  }

  async poll() {
    if (document.hidden || this.isPolling || !this.round) return;
    this.isPolling = true;
    try {
      if (!this.isCutBelow) await this.look();
    } finally {
      this.isPolling = false;
    }
    // lines come a little after the run has ended, too
    if (!this.isFinal) this.rounds = 5;
    if (this.isConnected && (this.rounds = (this.rounds ?? 3) - 1) >= 0) this.soon(POLL_MS);
  }

  async look() {
    const latest = [...this.known.values()].at(-1);
    const back = latest ? `${BigInt(Math.max(0, latest.at - LOOK_BACK_MS)) * 1000000n}-0` : "0-0";
    let after = back;
    for (let turn = 0; turn < 5; turn++) {
      const found = await this.ask({ after });
      if (!found) return;
      this.add(found.lines);
      this.tell(found);
      if (!found.more) return;
      after = found.lines.at(-1).place;
    }
  }

  async older() {
    const first = this.known.values().next().value;
    if (this.isAsking || !first) return;
    this.isAsking = true;
    const found = await this.ask({ before: first.place });
    this.isAsking = false;
    if (!found) return;
    this.hasOlder = found.more;
    const height = this.frame.scrollHeight;
    this.frame.prepend(...found.lines.map((line) => this.line(line)));
    this.known = new Map([...found.lines.map((line) => [line.place, line]), ...this.known]);
    this.frame.scrollTop += this.frame.scrollHeight - height;
    while (this.known.size > MOST_LINES) {
      this.known.delete([...this.known.keys()].at(-1));
      this.frame.lastElementChild.remove();
      this.isCutBelow = true;
    }
  }

  async newer() {
    const last = [...this.known.values()].at(-1);
    if (this.isAsking || !last) return;
    this.isAsking = true;
    const found = await this.ask({ after: last.place });
    this.isAsking = false;
    if (!found) return;
    this.isCutBelow = found.more;
    this.add(found.lines);
  }

  add(lines) {
    const fresh = lines.filter((line) => !this.known.has(line.place));
    if (!fresh.length) return;
    if (!this.known.size) this.frame.replaceChildren();
    const last = [...this.known.values()].at(-1);
    for (const line of fresh) this.known.set(line.place, line);
    if (!last || fresh[0].at >= last.at) this.frame.append(...fresh.map((line) => this.line(line)));
    else this.sort();
    this.trim();
    if (this.isFollowing) this.frame.scrollTop = this.latestTop = this.frame.scrollHeight;
  }

  /** A line that came late, with an earlier time than one that is shown already. */
  sort() {
    this.known = new Map([...this.known].sort(([, one], [, other]) => one.at - other.at));
    this.frame.replaceChildren(...[...this.known.values()].map((line) => this.line(line)));
  }

  trim() {
    while (this.known.size > MOST_LINES) {
      this.known.delete(this.known.keys().next().value);
      this.frame.firstElementChild.remove();
      this.hasOlder = true;
    }
  }

  line(line) {
    const tone = TONES[line.level] ?? "idle";
    const row = make("div", { className: `line tone-${tone}${tone === "bad" ? " is-bad" : ""}` });
    const at = new Date(line.at);
    const text = make("span", { className: "line-text" }, line.message);
    for (const [name, value] of Object.entries(line.attributes)) {
      if (!name.startsWith("holdfast.")) text.append(make("span", { className: "line-more" }, ` ${name}=${JSON.stringify(value)}`));
    }
    row.append(
      make("time", { className: "line-at", dateTime: at.toISOString(), title: at.toISOString() }, at.toLocaleTimeString("en-GB", { hour12: false }) + `.${String(at.getMilliseconds()).padStart(3, "0")}`),
      make("span", { className: "line-level" }, line.level), text,
    );
    return row;
  }

  tell(found) {
    const count = this.known.size;
    this.note.textContent = !found.available ? "" : count ? `${this.hasOlder ? "last " : ""}${count} ${count === 1 ? "line" : "lines"}` : "";
    if (count) {
      if (!found.available) this.note.textContent = "The log cannot be read at the moment";
      return;
    }
    const text = !found.available ? "The log cannot be read at the moment: ClickHouse does not answer. The run is not touched by that."
      : this.search || this.levels ? "No line is like that."
      : this.isFinal ? "This run logged nothing." : "Nothing logged yet. Lines show up here as they are written.";
    if (this.frame.textContent !== text) this.frame.replaceChildren(make("p", { className: "nothing" }, text));
  }
}
customElements.define("log-tail", LogTail);
