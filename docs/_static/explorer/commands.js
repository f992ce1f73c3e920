/** A schedule as the literature names it, as a call of the library, and as a command. */

import { style } from "./schedule.js";

/** BPTT(h; h') of Williams and Peng. */
export function literatureName(T, horizon, stride) {
  return style(T, horizon, stride) === "full" ? "BPTT(∞)" : `BPTT(${horizon}; ${stride})`;
}

/** The call that computes it. */
export function call(T, horizon, stride) {
  const isFull = style(T, horizon, stride) === "full";
  const schedule = isFull ? "horizon=None" : `horizon=${horizon}, stride=${stride}`;
  return `truncated_scan(step, carry, xs, ${schedule})`;
}

/** The command that trains a language model with it. */
export function command(T, horizon, stride) {
  const flags = {
    full: ["--style=full"],
    true: ["--style=true", `--bptt=${horizon}`],
    "semi-epochwise": ["--style=semi", `--bptt=${horizon}`, `--stride=${stride}`],
    epochwise: ["--style=epochwise", `--bptt=${horizon}`],
  }[style(T, horizon, stride)];
  return ["python -m experiments.ptb", ...flags, `--seq_len=${T}`].join(" ");
}
