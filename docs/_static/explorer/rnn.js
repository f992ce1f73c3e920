/**
 * A recurrent network of N tanh units that reads symbols of -1 and +1 and predicts the next one:
 *
 *     cₛ = tanh(W cₛ₋₁ + u xₛ + b),   yₛ = v · cₛ + a,   P(target = ±1) = σ(±yₛ)
 */

import { normal } from "./random.js";

/** How many parameters N units have. */
export const numParams = (N) => N * N + 3 * N + 1;

/** The parameters by name, as views of one vector: W [N, N] row by row, u, b, v [N], a [1]. */
export function named(vector, N) {
  const view = (start, length) => vector.subarray(start, start + length);
  return {
    recurrent: view(0, N * N),
    input: view(N * N, N),
    bias: view(N * N + N, N),
    readout: view(N * N + 2 * N, N),
    readoutBias: view(N * N + 3 * N, 1),
  };
}

/** Normal weights of variance 1 / fan-in, the recurrent ones times a gain; zero biases. */
export function initParams(N, gain, random) {
  const vector = new Float64Array(numParams(N));
  const { recurrent, input, readout } = named(vector, N);
  const fill = (weights, scale) => weights.forEach((_, i) => (weights[i] = scale * normal(random)));
  fill(recurrent, gain / Math.sqrt(N));
  fill(input, 1);
  fill(readout, 1 / Math.sqrt(N));
  return vector;
}

/**
 * Runs the network over symbols [T] from a carry [N].
 *
 * @returns carries, of which [s] enters step s and [s + 1] leaves it, and logits [T].
 */
export function forward(vector, carry, symbols) {
  const N = carry.length;
  const { recurrent, input, bias, readout, readoutBias } = named(vector, N);
  const carries = [carry];
  const logits = new Float64Array(symbols.length);
  for (let s = 0; s < symbols.length; s++) {
    const before = carries[s];
    const after = new Float64Array(N);
    let logit = readoutBias[0];
    for (let i = 0; i < N; i++) {
      let total = input[i] * symbols[s] + bias[i];
      for (let j = 0; j < N; j++) total += recurrent[i * N + j] * before[j];
      after[i] = Math.tanh(total);
      logit += readout[i] * after[i];
    }
    carries.push(after);
    logits[s] = logit;
  }
  return { carries, logits };
}

/** The loss of one step in nats, -log σ(target · logit). */
export function loss(logit, target) {
  const z = target * logit;
  return Math.max(-z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
}

/** Its derivative by the logit. */
export const lossError = (logit, target) => -target / (1 + Math.exp(target * logit));
