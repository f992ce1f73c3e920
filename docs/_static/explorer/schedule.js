/**
 * The law of truncation: which error reaches which step.
 *
 * Steps are counted from 0. The losses of one block of `stride` steps share one backward pass,
 * which covers the `horizon` steps that end with the block's last. Blocks are counted from `from`,
 * the step of the first loss.
 */

/** The backward passes over T steps: losses at first..last, errors carried back to start. */
export function passes(T, horizon, stride, from = 0) {
  const found = [];
  for (let first = from; first < T; first += stride) {
    const last = Math.min(first + stride, T) - 1;
    found.push({ first, last, start: Math.max(last - horizon + 1, 0) });
  }
  return found;
}

/** [T], how many steps back the error of each step reaches, its own included. */
export function reaches(T, horizon, stride) {
  return passes(T, horizon, stride).flatMap(({ first, last, start }) =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i - start + 1),
  );
}

/** How many errors reach each number of steps: pairs [steps, errors] by rising steps. */
export function histogram(T, horizon, stride) {
  const errors = new Map();
  for (const steps of reaches(T, horizon, stride)) errors.set(steps, (errors.get(steps) ?? 0) + 1);
  return [...errors].sort(([a], [b]) => a - b);
}

/**
 * The share of errors that reach `delay` steps before their own, in a sequence without end. By its
 * place in the block an error reaches horizon - stride + 1 to horizon steps back.
 */
export function shareReaching(delay, horizon, stride) {
  const short = Math.min(Math.max(delay + stride - horizon, 0), stride);
  return (stride - short) / stride;
}

/** The style's name. With a horizon of the whole sequence nothing is cut, whatever the stride. */
export function style(T, horizon, stride) {
  if (horizon >= T) return "full";
  if (stride === 1) return "true";
  return stride === horizon ? "epochwise" : "semi-epochwise";
}

/**
 * The backward pass in units of one step's pullback.
 *
 * @returns passes; depth, the longest chain of steps one after the other; and work, the steps of
 *   all passes. Full BPTT is one pass of T steps.
 */
export function cost(T, horizon, stride) {
  if (horizon >= T) return { passes: 1, depth: T, work: T };
  const all = passes(T, horizon, stride);
  const steps = all.map(({ last, start }) => last - start + 1);
  return {
    passes: all.length,
    depth: Math.max(...steps),
    work: steps.reduce((sum, length) => sum + length, 0),
  };
}
