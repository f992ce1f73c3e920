/** Networks that train side by side, a slice of time before each frame. */

import { createLearner, update } from "./learner.js";

export const DELAYS = [2, 4, 6, 8];
const SLICE = 24; // ms

/** Makes the loop; `onProgress` is called after every slice. */
export function createTraining(onProgress) {
  let learners = [];
  let goal = 0;
  let frame = 0;
  const count = () => learners[0].losses.length;
  const isRunning = () => count() < goal;

  function slice() {
    const end = performance.now() + SLICE;
    while (isRunning() && performance.now() < end) learners.forEach(update);
    frame = isRunning() ? requestAnimationFrame(slice) : 0;
    onProgress();
  }

  return {
    count,
    isRunning,
    learners: () => learners,
    /** New networks, before their first update. */
    begin({ horizon, stride, seed }) {
      goal = 0;
      learners = DELAYS.map((delay) => createLearner({ delay, horizon, stride, seed }));
    },
    /** Trains until every network has had so many updates; 0 stops it where it is. */
    runTo(updates) {
      goal = updates;
      if (isRunning() && !frame) frame = requestAnimationFrame(slice);
    },
  };
}
