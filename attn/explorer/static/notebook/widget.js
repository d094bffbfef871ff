/**
 * The page in a notebook (anywidget): a frame that may do nothing outside, whose questions go to the kernel.
 * @typedef {object} Model
 * @property {(name: string) => any} get
 * @property {(content: any) => void} send
 * @property {(event: string, take: (content: any, buffers: DataView[]) => void) => void} on
 * @property {(event: string, take: (content: any, buffers: DataView[]) => void) => void} off
 */

/** @param {{model: Model, el: HTMLElement}} where */
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts allow-downloads");
  frame.title = "attn";
  frame.style.cssText = "width: 100%; height: 800px; border: 1px solid #ccc";
  frame.srcdoc = model.get("page");
  const take = (/** @type {MessageEvent} */ { source, data }) => {
    if (source === frame.contentWindow) model.send(data);
  };
  const tell = (/** @type {any} */ content, /** @type {DataView[]} */ [data]) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer;
    frame.contentWindow?.postMessage({ ...content, bytes }, "*", [bytes]);
  };
  window.addEventListener("message", take);
  model.on("msg:custom", tell);
  el.append(frame);
  return () => {
    window.removeEventListener("message", take);
    model.off("msg:custom", tell);
  };
}

export default { render };
