// The few things that several modules do with the page.

/** Listens on the document for events of elements that match, also of those that come later. */
export function delegate(type, selector, handler, options) {
  document.addEventListener(type, (event) => {
    const element = event.target instanceof Element && event.target.closest(selector);
    if (element) handler(element, event);
  }, options);
}

/** Whether a key press goes into a field, and so is no shortcut. */
export function isTyping(event) {
  const element = event.composedPath()[0];
  return element instanceof HTMLElement
    && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName))
    && !["checkbox", "radio", "button", "submit"].includes(element.type);
}

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** One of our icons, as `<c-icon>` draws it. */
export function icon(name, classes = "") {
  const sample = document.querySelector("svg.icon use");
  const address = sample ? sample.getAttribute("href").split("#")[0] : "/static/build/icons.svg";
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", `icon ${classes}`);
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `${address}#${name}`);
  svg.append(use);
  return svg;
}

export const isMac = /Mac|iP(hone|ad)/.test(navigator.userAgent);
