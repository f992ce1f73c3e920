/** The state of the page, and the part of its address after # that holds it. */

/** Lowest, highest and first value of every number. */
export const RANGES = {
  T: [1, 64, 49],
  h: [1, 64, 7],
  stride: [1, 64, 1],
  error: [1, 64, 30], // the error that is looked at, counted from 1
  "train-h": [1, 12, 5],
  "train-stride": [1, 12, 1],
  seed: [1, 99, 1],
  updates: [0, 1000, 0],
  delay: [2, 8, 4], // of the network whose lag spectrum is drawn; even
  "lag-h": [1, 24, 5],
};

/** The state of a page without an address. */
export const firstState = () =>
  Object.fromEntries(Object.entries(RANGES).map(([name, [, , first]]) => [name, first]));

/** What an address says, each number within its range; what it does not say is left out. */
export function parse(hash) {
  const said = {};
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (!Object.hasOwn(RANGES, name) || !/^\d{1,4}$/.test(text)) continue;
    const [low, high] = RANGES[name];
    said[name] = Math.min(Math.max(Number(text), low), high);
  }
  return said;
}

/** The state with strides of at most the horizon, an error that exists and an even delay. */
export function consistent(state) {
  return {
    ...state,
    stride: Math.min(state.stride, state.h),
    error: Math.min(state.error, state.T),
    "train-stride": Math.min(state["train-stride"], state["train-h"]),
    delay: 2 * Math.floor(state.delay / 2),
  };
}

/** The address of a state. */
export const format = (state) => `#${new URLSearchParams(state)}`;
