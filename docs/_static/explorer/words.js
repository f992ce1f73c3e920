/** Numbers in words. */

/** A share in per cent, with two significant digits below 1. */
export const percent = (share) =>
  `${share < 0.01 ? short(100 * share) : Math.round(100 * share)} %`;

/** A number and its noun, in the plural but after 1. */
export const counted = (number, noun, plural = `${noun}s`) =>
  `${number} ${number === 1 ? noun : plural}`;

/** A number with two significant digits, small ones as powers of ten. */
export const short = (number) =>
  number >= 0.01 || number === 0 ? String(Number(number.toPrecision(2))) : number.toExponential(0);

/** A histogram as texts: how many errors reach how far, equal neighbours together. */
export function describeHistogram(pairs, T) {
  const runs = [];
  for (const [steps, errors] of pairs) {
    const run = runs.at(-1);
    if (run?.errors === errors && run.to === steps - 1) run.to = steps;
    else runs.push({ from: steps, to: steps, errors });
  }
  return runs.map(({ from, to, errors }) => {
    if (from === to) return `${counted(from, "step")} back: ${errors} of ${counted(T, "error")}`;
    return `${from} to ${to} steps back: ${counted(errors, "error")} each`;
  });
}
