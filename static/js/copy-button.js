// <copy-button data-value>: puts its value on the clipboard and says that it did.
import { toast } from "holdfast/toasts";

class CopyButton extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.copy();
    });
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.dataset.value);
    } catch {
      toast("The browser did not allow copying.", "warn");
      return;
    }
    this.show(true);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.show(false), 1500);
  }

  show(isDone) {
    this.querySelector('[data-icon="copy"]')?.toggleAttribute("hidden", isDone);
    this.querySelector('[data-icon="check"]')?.toggleAttribute("hidden", !isDone);
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }
}
customElements.define("copy-button", CopyButton);
