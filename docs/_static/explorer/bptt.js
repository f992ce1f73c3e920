/** Truncated backpropagation through time, and a gradient split by lag. */

import { lossError, named, numParams } from "./rnn.js";

/** The errors of the logits, [T]: those of the mean loss over the steps from `from` on. */
export function logitErrors(logits, targets, from = 0) {
  const numLosses = logits.length - from;
  return logits.map((logit, s) => (s < from ? 0 : lossError(logit, targets[s]) / numLosses));
}

/**
 * What arrives at each step's tanh, [T] of [N], added over the backward passes.
 *
 *     ε ← ε + v ȳₛ where the pass has the loss of s;   aₛ = ε ∘ (1 - cₛ²);   ε ← Wᵀ aₛ
 */
export function truncatedErrors(vector, carries, outputErrors, passes) {
  const N = carries[0].length;
  const { readout } = named(vector, N);
  const arrived = Array.from(outputErrors, () => new Float64Array(N));
  for (const { first, last, start } of passes) {
    let error = new Float64Array(N);
    for (let s = last; s >= start; s--) {
      if (s >= first) addScaled(error, outputErrors[s], readout);
      throughTanh(error, carries[s + 1]);
      addScaled(arrived[s], 1, error);
      error = transposed(vector, error);
    }
  }
  return arrived;
}

/** The gradient of all parameters from what arrives at each step; each step is visited once. */
export function gradient(arrived, outputErrors, carries, symbols) {
  const N = carries[0].length;
  const vector = new Float64Array(numParams(N));
  const { recurrent, input, bias, readout, readoutBias } = named(vector, N);
  arrived.forEach((error, s) => {
    for (let i = 0; i < N; i++) {
      for (let j = 0; j < N; j++) recurrent[i * N + j] += error[i] * carries[s][j];
      input[i] += error[i] * symbols[s];
      bias[i] += error[i];
    }
    addScaled(readout, outputErrors[s], carries[s + 1]);
    readoutBias[0] += outputErrors[s];
  });
  return vector;
}

/**
 * The full gradient split by lag: numLags vectors, lag 0 first.
 *
 * Part k is what every error comes to at the step k before its own. The parts of the first h lags
 * add up to the gradient of BPTT(h; 1). One sweep carries all errors one step back.
 */
export function lagParts(vector, { carries }, symbols, outputErrors, numLags) {
  const N = carries[0].length;
  const { readout } = named(vector, N);
  const none = new Float64Array(outputErrors.length);
  let arrived = Array.from(outputErrors, (error, s) => {
    const own = readout.map((weight) => weight * error);
    throughTanh(own, carries[s + 1]);
    return own;
  });
  const parts = [gradient(arrived, outputErrors, carries, symbols)];
  while (parts.length < numLags) {
    arrived = arrived.map((_, s) => {
      if (s + 1 === arrived.length) return new Float64Array(N);
      const error = transposed(vector, arrived[s + 1]);
      throughTanh(error, carries[s + 1]);
      return error;
    });
    parts.push(gradient(arrived, none, carries, symbols));
  }
  return parts;
}

/** Wᵀ error. */
function transposed(vector, error) {
  const N = error.length;
  const back = new Float64Array(N);
  for (let i = 0; i < N; i++) {
    for (let j = 0; j < N; j++) back[j] += vector[i * N + j] * error[i];
  }
  return back;
}

/** error ← error ∘ (1 - c²), in place. */
function throughTanh(error, carry) {
  for (let i = 0; i < error.length; i++) error[i] *= 1 - carry[i] * carry[i];
}

/** sum ← sum + scale · vector, in place. */
export function addScaled(sum, scale, vector) {
  for (let i = 0; i < sum.length; i++) sum[i] += scale * vector[i];
}
