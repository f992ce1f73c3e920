/** The third part of the page: the gradient of one network, split by lag. */

import { drawBars } from "./bars.js";
import { bindInput } from "./controls.js";
import { NETWORK } from "./learner.js";
import {
  NUM_STEPS,
  effectiveHorizon,
  gradientOfHorizon,
  norm,
  partsByLag,
  relativeDifference,
  runBatch,
} from "./spectrum.js";
import { DELAYS } from "./training.js";
import { percent, short } from "./words.js";

const MOST_OFTEN = 500; // ms between two spectra while the networks train

/** Binds the panel's controls; returns the function that shows a state. */
export function spectrumPanel(root, training, change) {
  const at = (name) => root.querySelector(`[data-shows="${name}"]`);
  const inputs = ["delay", "lag-h"].map((name) => bindInput(root, name, change));
  let measured = { time: -Infinity };
  let shownKey;

  /** Measures again if the network is another one, or has learnt since. */
  function measure(delay) {
    const { params } = training.learners()[DELAYS.indexOf(delay)];
    const count = training.count();
    const isSame = measured.params === params;
    if (isSame && measured.count === count) return;
    if (isSame && training.isRunning() && performance.now() - measured.time < MOST_OFTEN) return;
    const snapshot = params.slice(); // training goes on while the horizon moves
    const batch = runBatch(snapshot, NETWORK.N, delay);
    const parts = partsByLag(snapshot, batch);
    measured = { params, count, snapshot, batch, parts, norms: parts.map(norm) };
    measured.time = performance.now();
  }

  return (state) => {
    const { delay, "lag-h": horizon } = state;
    [delay, horizon].forEach((value, i) => inputs[i]({ value }));
    const before = measured;
    measure(delay);
    const key = `${delay},${horizon}`;
    if (measured === before && key === shownKey) return;
    shownKey = key;
    const texts = describe(measured, horizon);
    for (const [name, text] of Object.entries(texts)) at(name).textContent = text;
    const bars = measured.norms.map((each, lag) => [lag, each, lag < horizon ? "kept" : "dropped"]);
    const labels = { x: "lag: steps before the error's own", y: "norm of the part" };
    const marks = { band: horizon, mark: { place: delay, name: "delay" } };
    const alternative = `Norms of the gradient's parts by lag. ${texts.sum} ${texts.effective}`;
    drawBars(at("spectrum"), bars, { ...labels, ...marks }, alternative);
  };
}

/** What the parts of the first lags add up to, and what is left out. */
function describe({ snapshot, batch, parts, norms }, horizon) {
  const own = gradientOfHorizon(snapshot, batch, horizon);
  const full = gradientOfHorizon(snapshot, batch, NUM_STEPS);
  const difference = relativeDifference(parts.slice(0, horizon), own);
  const effective = effectiveHorizon(norms, 0.99);
  const missing = relativeDifference([own], full);
  const lags =
    horizon === 1 ? "The part of lag 0 is" : `The parts of lags 0 to ${horizon - 1} add up to`;
  return {
    sum: `${lags} the gradient of horizon ${horizon}: difference ${short(difference)} of its norm.`,
    missing: `From the full gradient it differs by ${percent(missing)} of the full one's norm.`,
    effective: `The smallest horizon that holds 99 % of the summed norms is ${effective}.`,
  };
}
