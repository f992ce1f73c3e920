/** The second part of the page: networks that learn one delay each, live. */

import { RANGES } from "./address.js";
import { bindInput } from "./controls.js";
import { learntShare } from "./delay_task.js";
import { drawLosses } from "./loss_chart.js";
import { shareReaching } from "./schedule.js";
import { DELAYS } from "./training.js";
import { counted, percent } from "./words.js";

const NAMES = ["train-h", "train-stride", "seed"];
const MOST_UPDATES = RANGES.updates[1];
const RECENT = 50; // updates over which a loss is averaged
const LEARNT = 0.8; // of the possible gain
const MILESTONE = 250; // updates between two spoken reports

/** Binds the panel's controls to a training; returns the functions that load and show a state. */
export function learningPanel(root, training, change) {
  const at = (name) => root.querySelector(`[data-shows="${name}"]`);
  const restart = (part) => change({ ...part, updates: 0 });
  const inputs = Object.fromEntries(NAMES.map((name) => [name, bindInput(root, name, restart)]));
  let shownKey;
  const keyOf = (state) => NAMES.map((name) => state[name]).join();
  const show = (state) => {
    inputs["train-h"]({ value: state["train-h"] });
    inputs["train-stride"]({ value: state["train-stride"], max: state["train-h"] });
    inputs.seed({ value: state.seed });
    if (keyOf(state) !== shownKey) begin(state, training.isRunning() ? MOST_UPDATES : 0);
    showProgress(at, training, state);
  };

  function begin(state, updates) {
    shownKey = keyOf(state);
    const [horizon, stride, seed] = NAMES.map((name) => state[name]);
    training.begin({ horizon, stride, seed });
    training.runTo(updates);
  }

  at("run").addEventListener("click", () => {
    training.runTo(training.isRunning() ? 0 : MOST_UPDATES);
    change({ updates: training.count() });
  });
  at("reset").addEventListener("click", () => {
    shownKey = undefined;
    training.runTo(0);
    change({ updates: 0 });
  });
  return { load: (state) => begin(state, state.updates), show };
}

/** The share of the possible gain that a network has learnt of late. */
function recentShare({ losses }) {
  const recent = losses.slice(-RECENT);
  return learntShare(recent.reduce((sum, each) => sum + each, 0) / recent.length);
}

function showProgress(at, training, state) {
  const learners = training.learners();
  const count = training.count();
  const shares = count ? learners.map(recentShare) : learners.map(() => 0);
  const isRunning = training.isRunning();
  const isDone = count >= MOST_UPDATES;
  at("run").textContent = isDone ? "Done" : isRunning ? "Pause" : count ? "Continue" : "Start";
  at("run").disabled = isDone;
  at("updates").textContent = `${counted(count, "update")} of ${MOST_UPDATES}`;
  const reported = isRunning ? count - (count % MILESTONE) : count;
  const report = `${reported}${isRunning}`;
  if (at("status").dataset.report !== report || !isRunning) {
    at("status").dataset.report = report;
    at("status").textContent = describe(shares, reported, isRunning);
  }
  DELAYS.forEach((delay, i) => showRow(at(`delay-${delay}`), delay, shares[i], state));
  const losses = learners.map((learner) => learner.losses);
  drawLosses(at("losses"), losses, MOST_UPDATES, `Losses of the networks. ${at("status").textContent}`);
}

function describe(shares, count, isRunning) {
  if (!count) return isRunning ? "Training." : "Not trained yet.";
  const learnt = DELAYS.filter((_, i) => shares[i] >= LEARNT);
  const which = learnt.length ? `learnt: delay ${learnt.join(", ")}` : "no delay is learnt yet";
  return `${isRunning ? "Training" : "Stopped"}. After ${counted(count, "update")}, ${which}.`;
}

/** A table's row: how many errors reach the symbol that is copied, and what is learnt. */
function showRow(row, delay, share, state) {
  const arriving = shareReaching(delay, state["train-h"], state["train-stride"]);
  const bounded = Math.min(Math.max(share, 0), 1);
  row.dataset.share = share;
  row.querySelector("[data-cell=arriving]").textContent = percent(arriving);
  row.querySelector("[data-cell=learnt]").textContent = percent(bounded);
  row.querySelector(".fill").style.width = percent(bounded).replace(" ", "");
}
