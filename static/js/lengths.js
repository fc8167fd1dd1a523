// Lengths of time in few characters, as the server writes them; <time-span> counts while something runs.
const SCALES = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];

/** A length in microseconds: `840 µs`, `12 ms`, `3.4 s`, `2 m 5 s`. */
export function length(micros) {
  const whole = Math.max(0, micros);
  if (whole < 1000) return `${Math.round(whole)} µs`;
  if (whole < 1e6) return whole < 1e4 ? `${(whole / 1000).toFixed(1)} ms` : `${Math.round(whole / 1000)} ms`;
  if (whole < 6e7) return `${(whole / 1e6).toFixed(1)} s`;
  const seconds = Math.round(whole / 1e6);
  const [size, unit, smaller, rest] = SCALES.find(([least]) => seconds >= least);
  const more = Math.floor((seconds % size) / smaller);
  return more ? `${Math.floor(seconds / size)} ${unit} ${more} ${rest}` : `${Math.floor(seconds / size)} ${unit}`;
}

const counting = new Set();

class TimeSpan extends HTMLElement {
  static observedAttributes = ["data-from", "data-until"];

  connectedCallback() {
    this.render();
  }

  disconnectedCallback() {
    counting.delete(this);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.render();
  }

  render() {
    const from = Date.parse(this.dataset.from);
    const until = this.dataset.until ? Date.parse(this.dataset.until) : Date.now();
    if (this.dataset.until) counting.delete(this);
    else counting.add(this);
    const text = Number.isNaN(from) ? "–" : length((until - from) * 1000);
    if (this.textContent !== text) this.textContent = text;
  }
}
customElements.define("time-span", TimeSpan);

const refresh = () => counting.forEach((each) => each.render());
setInterval(() => { if (!document.hidden) refresh(); }, 1000);
document.addEventListener("htmx:after:swap", () => document.querySelectorAll("time-span").forEach((each) => each.render()));
