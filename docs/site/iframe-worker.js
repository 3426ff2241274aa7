// A page that is read from the disk may not start a worker: there the search runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.postMessageToPage = data => {
        const event = new MessageEvent("message", { data });
        this.onmessage?.(event);
        this.dispatchEvent(event);
      };
      inner.document.open();
      inner.document.write(`<!doctype html><script>
        function postMessage(data) { postMessageToPage(data); }
        function importScripts(...addresses) {
          return addresses.reduce((before, one) => before.then(() => new Promise((done, failed) => {
            const script = document.createElement("script");
            script.src = one; script.onload = done; script.onerror = failed;
            document.body.append(script);
          })), Promise.resolve());
        }
      <\/script><body><script src="${address}"><\/script>`);
      inner.document.close();
      this.ready = new Promise(done => { this.frame.onload = done; });
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() { this.frame.remove(); }
  };
}
