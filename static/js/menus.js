// Popovers stand below their button, inside the window; one with data-load is filled when it opens.
import { delegate } from "holdfast/dom";

const GAP = 6;

const invoker = (menu) => menu.opener
  ?? document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);

function place(menu) {
  const button = invoker(menu);
  if (!button) return;
  const anchor = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = menu.hasAttribute("data-end") ? anchor.right - width : anchor.left;
  const hasRoomBelow = anchor.bottom + GAP + height <= innerHeight || anchor.top < height + GAP;
  menu.style.position = "fixed";
  menu.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, hasRoomBelow ? anchor.bottom + GAP : anchor.top - GAP - height)}px`;
}

async function load(menu) {
  const source = invoker(menu)?.dataset.load;
  if (!source || menu.dataset.loaded) return;
  const answer = await fetch(source, { headers: { "HX-Request": "true" } }).catch(() => null);
  menu.innerHTML = answer?.ok ? await answer.text() : '<p class="p-3 text-muted">This could not be loaded.</p>';
  if (answer?.ok) menu.dataset.loaded = "yes";
  place(menu);
  focusFirst(menu);
}

const items = (menu) => [...menu.querySelectorAll(".menu-item")].filter((item) => item.offsetParent);

function focusFirst(menu) {
  if (!menu.matches(":popover-open")) return;
  const field = menu.querySelector("input:not([type=hidden])");
  (field ?? menu.querySelector('.menu-item[aria-current="true"]') ?? items(menu)[0])?.focus({ preventScroll: true });
}

function step(menu, by) {
  const all = items(menu);
  const next = all[(all.indexOf(document.activeElement) + by + all.length) % all.length];
  next?.focus();
}

// Neither event bubbles: they are caught on their way down.
document.addEventListener("beforetoggle", (event) => {
  const menu = event.target;
  if (menu instanceof Element && menu.matches(".menu") && event.newState === "open") menu.style.visibility = "hidden";
}, true);
document.addEventListener("toggle", (event) => {
  const menu = event.target;
  if (!(menu instanceof Element) || !menu.matches(".menu")) return;
  invoker(menu)?.setAttribute("aria-expanded", String(event.newState === "open"));
  if (event.newState !== "open") return;
  place(menu);
  menu.style.visibility = "";
  load(menu);
  focusFirst(menu);
}, true);

delegate("keydown", ".menu", (menu, event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(menu, by);
});
addEventListener("resize", () => document.querySelectorAll(".menu:popover-open").forEach(place));
