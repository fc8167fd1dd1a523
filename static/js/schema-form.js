// <schema-form>: a form for a JSON schema beside its JSON. The textarea is what is sent; the form
// reads and writes it, so that what the form cannot show is not lost.
import { icon, make } from "holdfast/dom";
import { toast } from "holdfast/toasts";

const CONTROL = "control";

/** The schema behind a $ref, and the part of an anyOf that is not null. */
function plain(schema, root, depth = 0) {
  if (!schema || depth > 20) return {};
  if (schema.$ref?.startsWith("#/")) {
    const found = schema.$ref.slice(2).split("/").reduce((part, name) => part?.[name.replace(/~1/g, "/").replace(/~0/g, "~")], root);
    const { $ref, ...more } = schema;
    return plain({ ...found, ...more }, root, depth + 1);
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) {
    const others = choices.filter((choice) => choice.type !== "null");
    if (others.length !== 1) return { ...schema, type: undefined };
    const { anyOf, oneOf, ...more } = schema;
    return { ...plain(others[0], root, depth + 1), ...more, isNullable: others.length < choices.length };
  }
  if (schema.allOf?.length === 1) return plain({ ...schema.allOf[0], ...schema, allOf: undefined }, root, depth + 1);
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== "null");
    return { ...schema, type: types.length === 1 ? types[0] : undefined, isNullable: types.length < schema.type.length };
  }
  return schema;
}

/** A value to begin from. */
function sample(schema, root, depth = 0) {
  const known = plain(schema, root);
  if (known.default !== undefined) return known.default;
  if (known.examples?.length) return known.examples[0];
  if (known.const !== undefined) return known.const;
  if (known.enum) return known.enum[0];
  if (known.isNullable || depth > 6) return null;
  if (known.type === "object" || known.properties) {
    const required = new Set(known.required ?? []);
    return Object.fromEntries(Object.entries(known.properties ?? {})
      .filter(([name, part]) => required.has(name) || plain(part, root).default !== undefined)
      .map(([name, part]) => [name, sample(part, root, depth + 1)]));
  }
  return { string: "", integer: known.minimum ?? 0, number: known.minimum ?? 0, boolean: false, array: [] }[known.type] ?? null;
}

class SchemaForm extends HTMLElement {
  connectedCallback() {
    this.area = this.querySelector("textarea");
    this.form = this.querySelector('[data-part="form"]');
    this.problem = this.querySelector("#payload-problem");
    this.schema = JSON.parse(this.querySelector("#payload-schema").textContent);
    this.addEventListener("click", (event) => {
      const mode = event.target.closest("[data-mode]")?.dataset.mode;
      if (mode) this.show(mode);
    });
    this.area.addEventListener("input", () => this.check());
    this.fill = (event) => {
      const button = event.target.closest?.("[data-payload]");
      if (button) this.take(button.dataset.payload, button.closest("[popover]"));
    };
    document.addEventListener("click", this.fill);
    this.send = (event) => {
      if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) this.area.form.requestSubmit();
    };
    document.addEventListener("keydown", this.send);
    if (this.schema && !this.area.value.trim()) this.write(sample(this.schema, this.schema));
    const isForm = this.form && this.read() !== undefined && plain(this.schema, this.schema).properties;
    this.show(isForm ? "form" : "json");
  }

  disconnectedCallback() {
    document.removeEventListener("click", this.fill);
    document.removeEventListener("keydown", this.send);
  }

  show(mode) {
    if (mode === "form" && this.read() === undefined) {
      toast("The JSON has a mistake; put it right to see the form.", "warn");
      return;
    }
    for (const button of this.querySelectorAll("[data-mode]")) button.ariaPressed = String(button.dataset.mode === mode);
    this.querySelector('[data-part="json"]').hidden = mode === "form";
    if (!this.form) return;
    this.form.hidden = mode !== "form";
    if (mode === "form") this.build();
  }

  take(text, menu) {
    try {
      this.write(JSON.parse(text));
    } catch {
      this.area.value = text;
    }
    menu?.hidePopover();
    this.check();
    if (this.form && !this.form.hidden) this.build();
  }

  read() {
    const text = this.area.value.trim();
    if (!text) return null;
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }

  write(value) {
    this.area.value = JSON.stringify(value, null, 2);
    this.check();
  }

  check() {
    let said = "";
    try {
      if (this.area.value.trim()) JSON.parse(this.area.value);
    } catch (error) {
      said = `Not JSON yet: ${error.message}`;
    }
    this.problem.textContent = said;
    this.area.ariaInvalid = String(Boolean(said));
  }

  build() {
    const value = this.read() ?? sample(this.schema, this.schema) ?? {};
    this.count = 0;
    const fields = this.object(plain(this.schema, this.schema), value, (changed) => this.write(changed));
    this.form.replaceChildren(...fields);
  }

  /** The fields of an object; `changed` is told the whole object after each change. */
  object(schema, value, changed) {
    const whole = value && typeof value === "object" && !Array.isArray(value) ? { ...value } : {};
    const required = new Set(schema.required ?? []);
    return Object.entries(schema.properties ?? {}).map(([name, part]) => {
      const set = (next) => {
        if (next === undefined) delete whole[name];
        else whole[name] = next;
        changed(whole);
      };
      return this.field(name, plain(part, this.schema), whole[name], required.has(name), set);
    });
  }

  field(name, schema, value, isRequired, set) {
    const id = `field-${this.count++}`;
    const title = schema.title && schema.title.toLowerCase().replaceAll(" ", "_") !== name.toLowerCase() ? schema.title : "";
    const hint = schema.description ?? title;
    const label = make("label", { htmlFor: id, className: "flex items-baseline gap-2 font-medium" }, make("span", { className: "font-mono text-xs" }, name));
    label.append(" ", make("span", { className: "text-xs font-normal text-faint" }, [this.kind(schema), isRequired ? "" : "optional"].filter(Boolean).join(", ")));
    if (schema.type === "boolean") return this.toggle(id, label, schema, value, set, hint);
    const control = this.control(id, schema, value, isRequired, set);
    if (control.id !== id) label.removeAttribute("for");
    if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
    return make("div", { className: "flex flex-col gap-1.5" }, label, control, ...(hint ? [make("p", { id: `${id}-hint`, className: "text-xs text-muted" }, hint)] : []));
  }

  kind(schema) {
    if (schema.enum) return "choice";
    if (schema.format) return schema.format;
    return schema.type ?? "JSON";
  }

  toggle(id, label, schema, value, set, hint) {
    const box = make("input", { type: "checkbox", id, className: "check mt-0.5", checked: Boolean(value ?? schema.default) });
    box.addEventListener("change", () => set(box.checked));
    const text = make("div", {}, label, ...(hint ? [make("p", { className: "text-xs text-muted" }, hint)] : []));
    return make("div", { className: "flex items-start gap-2.5" }, box, text);
  }

  control(id, schema, value, isRequired, set) {
    if (schema.enum) return this.choice(id, schema, value, isRequired, set);
    if (schema.type === "object" && schema.properties) {
      return make("fieldset", { className: "flex flex-col gap-4 border-l-2 border-line pl-4" }, ...this.object(schema, value, set));
    }
    if (schema.type === "array" && ["string", "integer", "number"].includes(plain(schema.items, this.schema).type)) {
      return this.list(id, schema, value, set);
    }
    if (schema.type === "string") return this.text(id, schema, value, isRequired, set);
    if (schema.type === "integer" || schema.type === "number") return this.number(id, schema, value, isRequired, set);
    return this.json(id, value, isRequired, set);
  }

  text(id, schema, value, isRequired, set) {
    const types = { email: "email", date: "date", uri: "url", "date-time": "text", password: "password" };
    const isLong = !schema.format && (schema.maxLength > 200 || String(value ?? "").includes("\n"));
    const field = make(isLong ? "textarea" : "input", { id, className: CONTROL, value: value ?? "", autocomplete: "off" });
    if (!isLong) field.type = types[schema.format] ?? "text";
    if (schema.default !== undefined && schema.default !== null) field.placeholder = String(schema.default);
    field.addEventListener("input", () => set(field.value === "" && !isRequired ? (schema.isNullable ? null : undefined) : field.value));
    return field;
  }

  number(id, schema, value, isRequired, set) {
    const field = make("input", { id, type: "number", className: CONTROL, value: value ?? "", step: schema.type === "integer" ? "1" : "any" });
    if (schema.minimum !== undefined) field.min = schema.minimum;
    if (schema.maximum !== undefined) field.max = schema.maximum;
    field.addEventListener("input", () => {
      if (field.value === "") set(isRequired ? 0 : schema.isNullable ? null : undefined);
      else set(Number(field.value));
    });
    return field;
  }

  choice(id, schema, value, isRequired, set) {
    const field = make("select", { id, className: CONTROL });
    if (!isRequired) field.append(make("option", { value: "" }, "Not set"));
    for (const option of schema.enum) {
      field.append(make("option", { value: JSON.stringify(option), selected: option === (value ?? schema.default) }, String(option)));
    }
    field.addEventListener("change", () => set(field.value === "" ? undefined : JSON.parse(field.value)));
    return field;
  }

  list(id, schema, value, set) {
    const isText = plain(schema.items, this.schema).type === "string";
    const field = make("textarea", { id, className: CONTROL, rows: 3, placeholder: "One per line", value: (Array.isArray(value) ? value : []).join("\n") });
    field.addEventListener("input", () => {
      const lines = field.value.split("\n").filter((line) => line !== "");
      set(isText ? lines : lines.map(Number));
    });
    return field;
  }

  json(id, value, isRequired, set) {
    const field = make("textarea", { id, className: `${CONTROL} control-mono`, rows: 4, spellcheck: false, value: value === undefined ? "" : JSON.stringify(value, null, 2) });
    field.addEventListener("input", () => {
      if (field.value.trim() === "") { set(isRequired ? null : undefined); field.ariaInvalid = "false"; return; }
      try {
        set(JSON.parse(field.value));
        field.ariaInvalid = "false";
      } catch {
        field.ariaInvalid = "true";
      }
    });
    return field;
  }
}
customElements.define("schema-form", SchemaForm);

// <payload-templates>: payloads that the visitor gave a name, kept in this browser.
class PayloadTemplates extends HTMLElement {
  connectedCallback() {
    this.render();
  }

  get place() {
    return `holdfast:payloads:${this.dataset.task}`;
  }

  get kept() {
    try {
      return JSON.parse(localStorage.getItem(this.place)) ?? {};
    } catch {
      return {};
    }
  }

  set kept(templates) {
    localStorage.setItem(this.place, JSON.stringify(templates));
    this.render();
  }

  render() {
    const rows = Object.entries(this.kept).map(([name, payload]) => {
      const use = make("button", { type: "button", className: "menu-item" }, icon("save"), make("span", { className: "min-w-0 flex-1 truncate" }, name));
      use.dataset.payload = payload;
      const remove = make("button", { type: "button", className: "button button-quiet button-icon button-sm", ariaLabel: `Forget ${name}` }, icon("x"));
      remove.addEventListener("click", () => {
        const { [name]: gone, ...others } = this.kept;
        this.kept = others;
      });
      return make("div", { className: "flex items-center" }, use, remove);
    });
    const field = make("input", { className: "control", ariaLabel: "Name of the template", placeholder: "Keep this payload as …", maxLength: 60 });
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !field.value.trim()) return;
      event.preventDefault();
      const name = field.value.trim();
      this.kept = { ...this.kept, [name]: document.getElementById("payload").value };
      toast(`“${name}” is kept in this browser.`, "ok");
    });
    const label = rows.length ? [make("div", { className: "menu-label" }, "Your templates")] : [];
    this.replaceChildren(...label, ...rows, make("div", { className: "p-1.5" }, field));
  }
}
customElements.define("payload-templates", PayloadTemplates);
