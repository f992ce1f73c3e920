/** The page: one state, three panels that show it, and an address that holds it. */

import { consistent, firstState, format, parse } from "./address.js";
import { learningPanel } from "./learning_panel.js";
import { schedulePanel } from "./schedule_panel.js";
import { spectrumPanel } from "./spectrum_panel.js";
import { createTraining } from "./training.js";

const PAUSE = 500; // ms between two addresses; Safari allows 100 in 30 s
const REDRAW = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 100; // ms

let state = consistent({ ...firstState(), ...parse(location.hash) });
let written;
let drawn = -Infinity;

const training = createTraining(() => {
  if (training.isRunning() && performance.now() - drawn < REDRAW) return;
  drawn = performance.now();
  change({ updates: training.count() });
});
const panel = (name) => document.getElementById(`explorer-${name}`);
const showSchedule = schedulePanel(panel("schedule"), change);
const learning = learningPanel(panel("learning"), training, change);
const showSpectrum = spectrumPanel(panel("spectrum"), training, change);

/** The one way in which the state changes. */
function change(part) {
  state = consistent({ ...state, ...part });
  showSchedule(state);
  learning.show(state);
  showSpectrum(state);
  if (!Object.keys(part).length) return; // nothing that the address does not say, or need not
  written ??= setTimeout(() => {
    written = undefined;
    history.replaceState(null, "", format(state));
  }, PAUSE);
}

/** Follows a link to another state, or one that names a part of it. */
addEventListener("hashchange", () => {
  const said = parse(location.hash);
  if (!Object.keys(said).length) return; // a heading's
  const trains = ["train-h", "train-stride", "seed", "updates"].some((name) => name in said);
  state = consistent({ ...state, ...(trains && { updates: 0 }), ...said });
  if (trains) learning.load(state);
  change({});
});

learning.load(state);
change({});
