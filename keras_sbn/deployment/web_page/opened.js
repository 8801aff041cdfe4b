/* A plain script: it runs where modules do not, and says why nothing happens. */
(() => {
  const show = (text) => {
    const message = document.getElementById("message");
    message.textContent = text;
    message.hidden = false;
    document.getElementById("about").textContent = "";
  };
  if (location.protocol === "file:") {
    show(
      "Expected a page that a server sends. Received: a file, from which browsers load no modules and no " +
        "model. Run `keras-sbn deploy web` with --serve, or `python -m http.server` in this folder.",
    );
  } else if (!HTMLScriptElement.supports?.("importmap") || !globalThis.WebAssembly) {
    show(
      "Expected a browser with WebAssembly and import maps: Chrome and Edge from 89, Firefox from 108, " +
        "Safari from 16.4. Received: an older one.",
    );
  }
})();
