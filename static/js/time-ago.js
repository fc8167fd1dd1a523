// <time-ago>: a moment as "12 s ago", kept current; the exact time is in its title.

const SCALES = [[60, "s"], [3600, "m"], [86400, "h"], [86400 * 30, "d"]];
const SIZES = { s: 1, m: 60, h: 3600, d: 86400 };
const shown = new Set();

export function ago(moment, now = Date.now()) {
  const seconds = Math.round((now - moment) / 1000);
  const length = Math.abs(seconds);
  if (length < 3) return "just now";
  const scale = SCALES.find(([limit]) => length < limit);
  if (!scale) return new Date(moment).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
  const count = Math.floor(length / SIZES[scale[1]]);
  return seconds < 0 ? `in ${count} ${scale[1]}` : `${count} ${scale[1]} ago`;
}

class TimeAgo extends HTMLElement {
  connectedCallback() {
    shown.add(this);
    this.render();
  }

  disconnectedCallback() {
    shown.delete(this);
  }

  render() {
    const time = this.querySelector("time");
    const moment = time && Date.parse(time.dateTime);
    if (!moment) return;
    const text = ago(moment);
    if (time.textContent !== text) time.textContent = text;
    if (!time.dataset.local) {
      time.dataset.local = "yes";
      time.title = `${new Date(moment).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" })}\n${time.title}`;
    }
  }
}
customElements.define("time-ago", TimeAgo);

setInterval(() => { if (!document.hidden) shown.forEach((each) => each.render()); }, 5000);
document.addEventListener("htmx:after:swap", () => shown.forEach((each) => each.render()));
