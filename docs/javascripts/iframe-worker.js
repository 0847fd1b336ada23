// Search runs in a worker, and browsers start no worker from file://. There the page runs the same
// script in a hidden frame, which has what the script uses of a worker: messages.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => {
        const message = new MessageEvent("message", { data: structuredClone(data) });
        setTimeout(() => {
          this.dispatchEvent(message);
          this.onmessage?.(message);
        });
      };
      const script = inside.document.createElement("script");
      this.ready = new Promise((loaded) => (script.onload = loaded));
      script.src = url;
      inside.document.body.append(script);
    }

    postMessage(data) {
      const inside = this.frame.contentWindow;
      const message = new inside.MessageEvent("message", { data: inside.structuredClone(data) });
      this.ready.then(() => inside.dispatchEvent(message));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
