// <theme-switch>: system, light, dark; kept in a cookie, so that the server renders it at once.

const ORDER = ["system", "light", "dark"];
const YEAR = 365 * 86400;

class ThemeSwitch extends HTMLElement {
  connectedCallback() {
    this.render();
    this.addEventListener("click", () => this.choose(ORDER[(ORDER.indexOf(this.theme) + 1) % ORDER.length]));
  }

  get theme() {
    return document.documentElement.dataset.theme || "system";
  }

  choose(theme) {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const age = theme === "system" ? 0 : YEAR;
    document.cookie = `theme=${theme}; path=/; max-age=${age}; samesite=lax`;
    document.querySelectorAll("theme-switch").forEach((each) => each.render());
    document.dispatchEvent(new CustomEvent("holdfast:theme", { detail: theme }));
  }

  render() {
    for (const icon of this.querySelectorAll("[data-theme-icon]")) {
      icon.toggleAttribute("hidden", icon.dataset.themeIcon !== this.theme);
    }
    const button = this.querySelector("button");
    button.ariaLabel = button.title = `Theme: ${this.theme}`;
  }
}
customElements.define("theme-switch", ThemeSwitch);
