/** The lag spectrum of a network: its gradient split by how many steps back a part arises. */

import { addScaled, gradient, lagParts, logitErrors, truncatedErrors } from "./bptt.js";
import { anySymbols, continued } from "./delay_task.js";
import { uniform } from "./random.js";
import { forward } from "./rnn.js";
import { passes } from "./schedule.js";

export const NUM_STEPS = 24;
const BATCH = 8;
const SEED = 0; // of the sequences, the same for all networks

/** The norm of a vector. */
export const norm = (vector) => Math.hypot(...vector);

/** The mean of vectors. */
function mean(vectors) {
  const sum = new Float64Array(vectors[0].length);
  for (const vector of vectors) addScaled(sum, 1 / vectors.length, vector);
  return sum;
}

/** The network run over a batch of sequences of its delay, from a zero carry. */
export function runBatch(params, N, delay) {
  const random = uniform(SEED);
  return Array.from({ length: BATCH }, () => {
    const symbols = continued(anySymbols(delay + 1, random), NUM_STEPS, delay, random);
    const inputs = symbols.subarray(delay, -1);
    const run = forward(params, new Float64Array(N), inputs);
    return { ...run, inputs, errors: logitErrors(run.logits, symbols.subarray(delay + 1)) };
  });
}

/** NUM_STEPS parts, lag 0 first. */
export function partsByLag(params, batch) {
  const ofSequences = batch.map(({ inputs, errors, ...run }) =>
    lagParts(params, run, inputs, errors, NUM_STEPS),
  );
  return ofSequences[0].map((_, lag) => mean(ofSequences.map((parts) => parts[lag])));
}

/** The gradient of BPTT(horizon; 1), by its own backward passes. */
export function gradientOfHorizon(params, batch, horizon) {
  const windows = passes(NUM_STEPS, horizon, 1);
  return mean(
    batch.map(({ inputs, errors, carries }) => {
      const arrived = truncatedErrors(params, carries, errors, windows);
      return gradient(arrived, errors, carries, inputs);
    }),
  );
}

/** ‖Σ vectors - target‖ / ‖target‖. */
export function relativeDifference(vectors, target) {
  const left = target.map((value) => -value);
  for (const vector of vectors) addScaled(left, 1, vector);
  return norm(left) / norm(target);
}

/** The smallest horizon whose lags hold a fraction of the summed norms. */
export function effectiveHorizon(norms, fraction) {
  const enough = fraction * norms.reduce((sum, each) => sum + each, 0);
  let held = 0;
  const lag = norms.findIndex((each) => (held += each) >= enough);
  return lag < 0 ? norms.length : lag + 1;
}
