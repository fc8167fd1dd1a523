// <passkey-sign-in>: signs in by a passkey. <passkey-form>: adds one, or asks for one a second time.
// What the server offers and gets back is the JSON that browsers know by themselves.

const isSupported = "PublicKeyCredential" in window
  && typeof PublicKeyCredential.parseRequestOptionsFromJSON === "function";

async function get(options) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey);
  return await navigator.credentials.get({ publicKey });
}

async function create(options, isPasskey) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey);
  const selection = publicKey.authenticatorSelection ?? {};
  selection.residentKey = isPasskey ? "required" : "discouraged";
  selection.requireResidentKey = isPasskey;
  if (isPasskey) selection.userVerification = "required";
  publicKey.authenticatorSelection = selection;
  return await navigator.credentials.create({ publicKey });
}

class PasskeyElement extends HTMLElement {
  connectedCallback() {
    if (!isSupported) return;
    this.hidden = false;
    this.form = this.querySelector("form");
    this.fault = this.querySelector("[data-fault]");
    this.querySelector("[data-passkey]").addEventListener("click", () => this.ask());
  }

  async ask() {
    this.fault.hidden = true;
    try {
      const credential = await this.credential();
      this.form.elements.credential.value = JSON.stringify(credential.toJSON());
      this.form.submit();
    } catch (error) {
      // NotAllowedError is also what a browser says when somebody changes their mind.
      this.fault.textContent = error.name === "NotAllowedError"
        ? "No passkey was used. Try again, or take another way."
        : "Your browser could not use a passkey here.";
      this.fault.hidden = false;
    }
  }
}

customElements.define("passkey-sign-in", class extends PasskeyElement {
  async credential() {
    const headers = { "Accept": "application/json", "X-Requested-With": "XMLHttpRequest" };
    const answer = await fetch(this.form.action, { headers });
    return await get((await answer.json()).request_options);
  }
});

customElements.define("passkey-form", class extends PasskeyElement {
  async credential() {
    const data = JSON.parse(this.querySelector("script[type='application/json']").textContent);
    if (data.request_options) return await get(data.request_options);
    return await create(data.creation_options, this.form.elements.passwordless.checked);
  }
});
