// <live-stream data-src data-cursor>: the one stream of a page. What it hears becomes the event
// "holdfast:changed" on the document and, a moment later, every [data-live] is fetched anew, from the
// address of the page, and morphed. It goes on from its cursor after a break, pauses in a hidden tab, and says both.

const GATHER_MS = 150;
const AT_MOST_MS = 1000;
const SILENT_MS = 40000;
const PAUSES_MS = [500, 1000, 2000, 5000, 10000];
const TEXTS = { waiting: "Connecting", open: "Live", lost: "Reconnecting", paused: "Paused", ended: "Not live" };

class LiveStream extends HTMLElement {
  connectedCallback() {
    this.cursor = this.dataset.cursor;
    this.tries = 0;
    this.onVisibility = () => (document.hidden ? this.pause() : this.open());
    this.onOnline = () => this.open();
    document.addEventListener("visibilitychange", this.onVisibility);
    addEventListener("online", this.onOnline);
    addEventListener("pagehide", this.onPageHide = () => this.stop());
    addEventListener("pageshow", this.onPageShow = (event) => { if (event.persisted) this.open(); });
    if (document.hidden) this.say("paused");
    else this.open();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    removeEventListener("online", this.onOnline);
    removeEventListener("pagehide", this.onPageHide);
    removeEventListener("pageshow", this.onPageShow);
    clearTimeout(this.gathering);
    this.stop();
  }

  pause() {
    clearTimeout(this.pausing);
    // a tab that is left for a moment keeps its stream
    this.pausing = setTimeout(() => { if (document.hidden) { this.stop(); this.say("paused"); } }, 5000);
  }

  stop() {
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    clearTimeout(this.pausing);
    this.abort?.abort();
    this.abort = null;
  }

  async open() {
    clearTimeout(this.pausing);
    clearTimeout(this.retry);
    if (this.abort || this.isOver || !this.isConnected) return;
    const abort = (this.abort = new AbortController());
    let outcome = "lost";
    try {
      outcome = await this.read(abort);
    } catch {
      if (abort.signal.aborted && this.abort !== abort) return; // stopped on purpose
    } finally {
      clearTimeout(this.silence);
    }
    if (this.abort === abort) this.abort = null;
    if (!this.isConnected) return;
    if (outcome === "over") {
      this.isOver = true;
      this.say("ended");
      return;
    }
    if (!document.hidden) this.say("lost");
    const pause = PAUSES_MS[Math.min(this.tries++, PAUSES_MS.length - 1)];
    this.retry = setTimeout(() => this.open(), pause * (0.5 + Math.random()));
  }

  async read(abort) {
    const address = new URL(this.dataset.src, location.href);
    if (this.cursor) address.searchParams.set("cursor", this.cursor);
    this.listen(abort);
    const answer = await fetch(address, { headers: { accept: "text/event-stream" }, signal: abort.signal, cache: "no-store" });
    if ([401, 403, 404, 422].includes(answer.status)) return "over";
    if (!answer.ok) return "lost";
    this.tries = 0;
    this.say("open");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "lost";
      this.listen(abort);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) if (this.take(block) === "over") return "over";
    }
  }

  /** Something must come within the time of two heartbeats, or the connection is dead. */
  listen(abort) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => abort.abort(), SILENT_MS);
  }

  take(block) {
    const fields = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
    }
    if (fields.event) {
      const data = JSON.parse(fields.data ?? "null");
      if (fields.event === "end") return data.reason === "unauthorized" ? "over" : "lost";
      this.tell(fields.event === "runs" ? data : null);
    }
    if (fields.id) this.cursor = fields.id;
    return "open";
  }

  tell(changes) {
    document.dispatchEvent(new CustomEvent("holdfast:changed", { detail: { changes } }));
    const now = performance.now();
    this.since ??= now;
    clearTimeout(this.gathering);
    // what keeps changing is still shown once a second
    const left = Math.max(0, Math.min(GATHER_MS, this.since + AT_MOST_MS - now));
    this.gathering = setTimeout(() => this.refresh(), left);
  }

  refresh() {
    this.since = null;
    for (const part of document.querySelectorAll("[data-live]")) {
      if (part.dataset.fetching) part.dataset.again = "yes";
      else refetch(part);
    }
  }

  say(state) {
    this.dataset.state = state;
    const text = this.querySelector("[data-text]");
    if (text && text.textContent !== TEXTS[state]) text.textContent = TEXTS[state];
  }
}
customElements.define("live-stream", LiveStream);

/** The same address with the same filters, as it is now; what is open, chosen or in focus stays. */
function refetch(part) {
  htmx.ajax("GET", `${location.pathname}${location.search}`, { source: part, target: part, swap: "innerMorph" });
}

// A part is fetched once at a time; what happens meanwhile is fetched after.
document.addEventListener("htmx:before:request", (event) => {
  if (event.target instanceof Element && event.target.matches("[data-live]")) event.target.dataset.fetching = "yes";
});
document.addEventListener("htmx:finally:request", (event) => {
  const part = event.target;
  if (!(part instanceof Element) || !part.matches("[data-live]")) return;
  delete part.dataset.fetching;
  if (!part.dataset.again) return;
  delete part.dataset.again;
  setTimeout(() => { if (part.isConnected) refetch(part); }, AT_MOST_MS);
});
