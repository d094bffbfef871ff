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

const PAUSE = 300; // milliseconds

/** What tells of progress, but not more often than can be looked at: telling costs more than the progress. @param {() => void} tell */
export function seldom(tell) {
  let due = 0;
  return () => {
    if (performance.now() < due) return;
    tell();
    due = performance.now() + PAUSE;
  };
}
