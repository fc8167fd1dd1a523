// A thin bar at the top while htmx waits for an answer, and a toast when none comes.
import { toast } from "holdfast/toasts";

let waiting = 0;

function show(change) {
  waiting = Math.max(0, waiting + change);
  const bar = document.getElementById("request-bar");
  if (!bar) return;
  bar.hidden = false;
  bar.classList.toggle("is-busy", waiting > 0);
}

const isQuiet = (event) => event.target instanceof Element && event.target.closest("[data-quiet]");

document.addEventListener("htmx:before:request", (event) => isQuiet(event) || show(1));
document.addEventListener("htmx:finally:request", (event) => isQuiet(event) || show(-1));
document.addEventListener("htmx:error", (event) => {
  if (!isQuiet(event)) toast("The server could not be reached. Try again in a moment.", "bad");
});
document.addEventListener("htmx:response:error", (event) => {
  const status = event.detail?.ctx?.response?.status;
  if (isQuiet(event) || !status) return;
  if (status === 401 || status === 403) toast("You may no longer see this. Load the page again.", "bad");
  else if (status >= 500) toast("Something went wrong on the server. Nothing was changed.", "bad");
});
