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
