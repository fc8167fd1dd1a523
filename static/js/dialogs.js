// data-open="<id>" opens a dialog, data-close closes it, and so does a click beside it.
import { delegate } from "holdfast/dom";

/** Opens a dialog; `values` fill its fields and the elements that show them by data-value-of. */
export function openDialog(id, values = {}) {
  const dialog = document.getElementById(id);
  if (!(dialog instanceof HTMLDialogElement) || dialog.open) return;
  document.querySelectorAll(":popover-open").forEach((each) => each.hidePopover());
  for (const [name, value] of Object.entries(values)) {
    const field = dialog.querySelector(`[name="${CSS.escape(name)}"]`);
    if (field) field.value = value;
    dialog.querySelectorAll(`[data-value-of="${CSS.escape(name)}"]`).forEach((each) => { each.textContent = value; });
  }
  dialog.showModal();
}

delegate("click", "[data-open]", (button) => {
  openDialog(button.dataset.open, button.dataset.values ? JSON.parse(button.dataset.values) : {});
});
delegate("click", "[data-close]", (button) => button.closest("dialog")?.close());
delegate("click", "dialog", (dialog, event) => {
  if (event.target !== dialog || dialog.closedBy === "any") return;
  const box = dialog.getBoundingClientRect();
  const isInside = event.clientX >= box.left && event.clientX <= box.right
    && event.clientY >= box.top && event.clientY <= box.bottom;
  if (!isInside) dialog.close();
});
// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
  const back = event.target.elements.namedItem("back"); // filters may have changed the address since
  if (back) back.value = location.pathname + location.search;
});
addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => { delete form.dataset.sent; }));
