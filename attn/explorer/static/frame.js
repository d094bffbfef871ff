import { useRef, useState } from "./vendor/preact.js";

/** State that is shown at most once in a frame; last, what it will be then. @template T @param {T} first @returns {[T, (value: T) => void, () => T]} */
export function useFrame(first) {
  const [value, set] = useState(first);
  const next = useRef({ value: first, isDue: false });
  return [
    value,
    (wanted) => {
      next.current.value = wanted;
      if (next.current.isDue) return;
      next.current.isDue = true;
      requestAnimationFrame(() => {
        next.current.isDue = false;
        set(() => next.current.value);
      });
    },
    () => next.current.value,
  ];
}

const PAUSE = 1000; // milliseconds between two looks at progress
const PATIENCE = 300; // milliseconds that something waits for the page to be idle

const OFTEN = 50; // milliseconds between two words of a pointer that moves

/** Tell of moves of the pointer, and of keys, but not of each. @param {() => void} tell @returns {() => void} which ends it */
export function onPointer(tell) {
  let due = 0;
  const take = () => {
    if (performance.now() < due) return;
    due = performance.now() + OFTEN;
    tell();
  };
  for (const kind of ["pointermove", "keydown"]) window.addEventListener(kind, take, { capture: true, passive: true });
  return () => {
    for (const kind of ["pointermove", "keydown"]) window.removeEventListener(kind, take, { capture: true });
  };
}

/** Comes when nothing else is to be done: what is read behind the page must not stand before the pointer. @returns {Promise<void>} */
export function idle() {
  if (!window.requestIdleCallback) return new Promise((go) => setTimeout(go));
  return new Promise((go) => window.requestIdleCallback(() => go(), { timeout: PATIENCE }));
}

/** What tells of progress, but not more often than can be looked at: telling costs more than the progress. @param {() => void} tell */
export function seldom(tell) {
  let due = 0;
  return () => {
    if (performance.now() < due) return;
    tell();
    due = performance.now() + PAUSE;
  };
}

/**
 * Look again after a pause; of what is gone, only once somebody comes back to the page, as it hardly ever comes back.
 * @param {() => unknown} look
 * @param {number} pause  milliseconds
 * @param {boolean} isLost
 * @returns {() => void} what ends that
 */
export function lookAgain(look, pause, isLost) {
  if (isLost) {
    window.addEventListener("focus", look, { once: true });
    return () => window.removeEventListener("focus", look);
  }
  const timer = setTimeout(look, pause);
  return () => clearTimeout(timer);
}
