/**
 * Sequences of -1 and +1 whose next symbol copies the one d steps back:
 *
 *     xₜ₊₁ = xₜ₋d with probability p, else either symbol
 *
 * No shorter past tells anything of the next symbol.
 */

export const COPY_PROB = 0.9;
export const CHANCE = Math.log(2); // nats per step, where the past is not known

const SAME = COPY_PROB + (1 - COPY_PROB) / 2;
/** Nats per step, where the past is known. */
export const ENTROPY = -SAME * Math.log(SAME) - (1 - SAME) * Math.log(1 - SAME);

/** The share of the possible gain: 0 at chance, 1 at the entropy. */
export const learntShare = (loss) => (CHANCE - loss) / (CHANCE - ENTROPY);

const either = (random) => (random() < 0.5 ? -1 : 1);

/** Symbols to begin with, any. */
export function anySymbols(length, random) {
  return Float64Array.from({ length }, () => either(random));
}

/** The symbols and `length` more; they must be more than `delay`. */
export function continued(symbols, length, delay, random) {
  const all = new Float64Array(symbols.length + length);
  all.set(symbols);
  for (let n = symbols.length; n < all.length; n++) {
    all[n] = random() < COPY_PROB ? all[n - 1 - delay] : either(random);
  }
  return all;
}
