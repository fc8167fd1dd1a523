// The filters of a list: a choice is applied at once, and what is not filtered by stays out of the address.
import { delegate } from "holdfast/dom";

delegate("change", "form[data-list-filters] select", (select) => select.form.requestSubmit());
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-list-filters]")) return;
  for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-list-filters] :disabled").forEach((field) => { field.disabled = false; }));
