/** The first part of the page: every error's path for T, horizon and stride. */

import { drawBars } from "./bars.js";
import { call, command, literatureName } from "./commands.js";
import { bindCopyButtons, bindInput } from "./controls.js";
import { cost, histogram, reaches, style } from "./schedule.js";
import { drawSchedule, errorAt } from "./schedule_picture.js";
import { counted, describeHistogram, short } from "./words.js";

/** Binds the panel's controls; returns the function that shows a state. */
export function schedulePanel(root, change) {
  const at = (name) => root.querySelector(`[data-shows="${name}"]`);
  const inputs = Object.fromEntries(
    ["T", "h", "stride", "error"].map((name) => [name, bindInput(root, name, change)]),
  );
  let shown;
  const picture = at("picture");
  picture.addEventListener("click", (event) => change({ error: errorAt(picture, event, shown.T) }));
  bindCopyButtons(root, (message) => (at("copied").textContent = message));

  return (state) => {
    const { T, h, stride, error } = state;
    inputs.T({ value: T });
    inputs.h({ value: h });
    inputs.stride({ value: stride, max: h });
    inputs.error({ value: error, max: T });
    const key = [T, h, stride, error].join();
    if (key === shown?.key) return;
    shown = { T, key };
    const facts = describe(T, h, stride);
    for (const [name, text] of Object.entries(facts)) at(name).textContent = text;
    at("call").replaceChildren(...unbroken(call(T, h, stride)));
    at("command").replaceChildren(...unbroken(command(T, h, stride)));
    at("one-error").textContent = describeError(T, h, stride, error);
    const counts = facts.counts.replaceAll("\n", "; ");
    const alternative = `${facts.style}. ${counts}. ${at("one-error").textContent}`;
    drawSchedule(picture, state, alternative);
    drawHistogram(at("histogram"), T, h, stride, counts);
  };
}

/** The texts of the panel, by what they show. */
function describe(T, h, stride) {
  const { passes, depth, work } = cost(T, h, stride);
  return {
    style: `${style(T, h, stride)}, ${literatureName(T, h, stride)}`,
    counts: describeHistogram(histogram(T, h, stride), T).reverse().join("\n"),
    passes: counted(passes, "backward pass", "backward passes"),
    depth: `${counted(depth, "step")} one after the other, ${short(depth / T)} of full BPTT`,
    work: `${counted(work, "step")} in all passes, ${short(work / T)} times full BPTT`,
  };
}

function describeError(T, h, stride, error) {
  const steps = reaches(T, h, stride)[error - 1];
  const from = error - steps + 1;
  const span = from === error ? `step ${error} alone` : `steps ${from} to ${error}`;
  return `The error of step ${error} reaches ${span}: ${counted(steps, "step")}.`;
}

/** A bar for every number of steps up to the furthest that an error reaches. */
function drawHistogram(svg, T, h, stride, counts) {
  const errors = new Map(histogram(T, h, stride));
  const furthest = Math.max(...errors.keys());
  const bars = Array.from({ length: furthest }, (_, i) => [i + 1, errors.get(i + 1) ?? 0, "counts"]);
  drawBars(svg, bars, { x: "steps reached back", y: "errors", number: String }, counts);
}

/** A text whose lines break between words alone, and not in "--flag". */
function unbroken(code) {
  return code.split(/(?<= )/).map((word) => {
    const span = document.createElement("span");
    span.textContent = word;
    return span;
  });
}
