/**
 * A network that learns one delay online, by truncated BPTT on endless streams.
 *
 * Every update sees the next chunk of each stream. The horizon - stride steps before the chunk are
 * run again, so that errors reach their whole horizon into the chunk before: the seams are exact.
 */

import { addScaled, gradient, logitErrors, truncatedErrors } from "./bptt.js";
import { anySymbols, continued } from "./delay_task.js";
import { uniform } from "./random.js";
import { forward, initParams, loss, numParams } from "./rnn.js";
import { passes } from "./schedule.js";

export const NETWORK = { N: 16, gain: 0.3, batch: 8, learningRate: 0.01, chunk: 24 };

/** A learner before its first update. The weights depend on the seed alone. */
export function createLearner({ delay, horizon, stride, seed }) {
  const { N, gain, batch, chunk } = NETWORK;
  const random = uniform(seed);
  const params = initParams(N, gain, random);
  const history = horizon - stride;
  const length = stride * Math.ceil(chunk / stride);
  const streams = Array.from({ length: batch }, () => ({
    carry: new Float64Array(N), // enters the first step of the history
    symbols: anySymbols(1 + Math.max(history, delay), random), // the last one is the next input
  }));
  return {
    delay,
    history,
    length,
    random,
    params,
    streams,
    passes: passes(history + length, horizon, stride, history),
    moments: { first: new Float64Array(numParams(N)), second: new Float64Array(numParams(N)) },
    losses: [],
  };
}

/** One update: the mean loss over the chunks is added to the losses. */
export function update(learner) {
  const { params, streams } = learner;
  const total = new Float64Array(params.length);
  let mean = 0;
  for (const stream of streams) {
    const { chunkLoss, chunkGradient } = nextChunk(learner, stream);
    mean += chunkLoss / streams.length;
    addScaled(total, 1 / streams.length, chunkGradient);
  }
  learner.losses.push(mean);
  adam(params, total, learner.moments, learner.losses.length);
}

/** Loss and gradient of a stream's next chunk; the stream moves on. */
function nextChunk({ params, history, length, delay, random, passes }, stream) {
  const past = stream.symbols.length;
  const symbols = continued(stream.symbols, length, delay, random);
  const inputs = symbols.subarray(past - 1 - history, -1);
  const targets = symbols.subarray(past - history);
  const { carries, logits } = forward(params, stream.carry, inputs);
  const errors = logitErrors(logits, targets, history);
  const arrived = truncatedErrors(params, carries, errors, passes);
  stream.carry = carries[length];
  stream.symbols = symbols.slice(-past);
  return {
    chunkLoss: logits.reduce((sum, y, s) => sum + (s < history ? 0 : loss(y, targets[s])), 0) / length,
    chunkGradient: gradient(arrived, errors, carries, inputs),
  };
}

/** One step of Adam, in place. */
function adam(params, grads, { first, second }, count) {
  const rate = NETWORK.learningRate / (1 - 0.9 ** count);
  for (let i = 0; i < params.length; i++) {
    first[i] += 0.1 * (grads[i] - first[i]);
    second[i] += 0.001 * (grads[i] ** 2 - second[i]);
    params[i] -= (rate * first[i]) / (Math.sqrt(second[i] / (1 - 0.999 ** count)) + 1e-8);
  }
}
