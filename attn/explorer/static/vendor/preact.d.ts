/** Types of what the page takes from preact.js: preact 10 with htm, as one file. */
export type Node = object | string | number | boolean | null | undefined;
type Change<T> = T | ((before: T) => T);
type Ref<T> = { current: T };

export function html(strings: TemplateStringsArray, ...values: unknown[]): Node;
export function render(node: Node, root: Element): void;
export function useEffect(effect: () => unknown, dependencies?: readonly unknown[]): void;
export function useLayoutEffect(effect: () => unknown, dependencies?: readonly unknown[]): void;
export function useCallback<T>(callback: T, dependencies: readonly unknown[]): T;
export function useMemo<T>(make: () => T, dependencies: readonly unknown[]): T;
export function useRef<T>(first: T): Ref<T>;
export function useState<T>(first: T | (() => T)): [T, (change: Change<T>) => void];
