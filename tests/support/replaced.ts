/**
 * Functions of Deno's that a test replaces. Not published.
 *
 * @module
 */

/** Replaces a function of Deno's until it is disposed. */
export function replaced<K extends keyof typeof Deno>(name: K, fn: unknown): Disposable {
  const original = Deno[name];
  Object.assign(Deno, { [name]: fn });
  return { [Symbol.dispose]: () => void Object.assign(Deno, { [name]: original }) };
}

/** Denied at the given call. */
export function failingAt<T extends unknown[], R>(call: number, fn: (...args: T) => R) {
  let calls = 0;
  return (...args: T) => {
    if (calls++ === call) throw new Deno.errors.PermissionDenied("Permission denied (os error 13)");
    return fn(...args);
  };
}
