import { html, useEffect, useRef, useState } from "../vendor/preact.js";

const PACE = 450; // milliseconds of each frame while playing

/**
 * Which frame of a video is shown: one of its latents, or the mean over all.
 *
 * @param {object} props
 * @param {[number, number][]} props.spans  first and last frame of the video that each stands for
 * @param {number | null} props.chosen
 * @param {(text: string) => void} props.onChoose
 */
export function VideoFrames({ spans, chosen, onChoose }) {
  const [isPlaying, play] = useState(false);
  useEffect(() => {
    if (!isPlaying) return;
    const timer = setTimeout(() => onChoose(String(((chosen ?? -1) + 1) % spans.length)), PACE);
    return () => clearTimeout(timer);
  }, [isPlaying, chosen]);
  const [first, last] = chosen === null ? [0, 0] : spans[chosen];
  const of = first === last ? `${first}` : `${first}–${last}`;
  const said = chosen === null ? `mean of all ${spans.length} frames` : `frame ${chosen}: ${of} of the video`;
  return html`<div class="steps" id="video-frames"><button aria-pressed=${String(chosen === null)} onClick=${() => {
    play(false);
    onChoose("");
  }}>all frames</button>
    <button onClick=${() => play(!isPlaying)}>${isPlaying ? "pause" : "play"}</button>
    <label><span class="unseen">frame of the video</span><input id="frame" type="range" min="0" max=${spans.length - 1} value=${chosen ?? 0} class=${chosen === null ? "off" : ""} aria-valuetext=${said}
      onInput=${(/** @type {any} */ event) => {
        play(false);
        onChoose(event.target.value);
      }} /></label>
    <output>${said}</output></div>`;
}

/**
 * The picture of one frame of a video; where the browser decodes none, or while it does, another.
 *
 * @param {string | null} video    address of an animated PNG
 * @param {number | null} frame    of it; null is none
 * @param {string | null} instead  address
 * @returns {string | null}
 */
export function useVideoFrame(video, frame, instead) {
  const decoding = useRef(/** @type {{video: string, decoder: Promise<any>} | null} */ (null));
  const [shown, show] = useState({ key: "", address: "" });
  const key = `${video} ${frame}`;
  useEffect(() => {
    if (!video || frame === null) return;
    let isOver = false;
    if (decoding.current?.video !== video) decoding.current = { video, decoder: openVideo(video) };
    decoding.current.decoder
      .then((decoder) => decoder?.decode({ frameIndex: frame }))
      .then((result) => result && !isOver && show({ key, address: drawn(result.image) }))
      .catch(() => {}); // the picture that is there stays
    return () => {
      isOver = true;
    };
  }, [key]);
  return shown.key === key && shown.address ? shown.address : instead;
}

/** A decoder of the frames of an animated PNG; null where the browser has none. @param {string} address */
async function openVideo(address) {
  const Decoder = /** @type {any} */ (globalThis).ImageDecoder;
  if (!Decoder) return null;
  const answer = await fetch(address);
  return new Decoder({ data: await answer.arrayBuffer(), type: "image/png" });
}

/** @param {any} image  a VideoFrame, which is closed */
function drawn(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.displayWidth;
  canvas.height = image.displayHeight;
  canvas.getContext("2d")?.drawImage(image, 0, 0);
  image.close();
  return canvas.toDataURL("image/png");
}
