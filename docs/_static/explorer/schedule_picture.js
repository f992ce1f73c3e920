/** The picture of a schedule: a row for each error, a column for each step that it reaches. */

import { passes, reaches } from "./schedule.js";
import { draw, line, node, text, ticks, verticalText } from "./svg.js";

const SIZE = 560;
const LEFT = 70;
const TOP = 10;
const MOST_TICKS = 12;
const MOST_WITH_ARROW = 30; // steps

/** Draws T × T cells, the blocks' ends and the error that is looked at (counted from 1). */
export function drawSchedule(svg, { T, h, stride, error }, alternative) {
  const cell = SIZE / T;
  const reach = reaches(T, h, stride);
  const left = (step) => LEFT + step * cell; // of steps counted from 0
  const top = (step) => TOP + step * cell;
  const ends = passes(T, h, stride).slice(0, -1).map(({ last }) => top(last + 1));
  draw(svg, alternative, [
    node("rect", { x: LEFT, y: TOP, width: SIZE, height: SIZE, class: "frame" }),
    ...cellsByLag(reach, cell, left, top),
    ...(stride > 1 ? ends.map((y) => line(LEFT, y, LEFT + SIZE, y, "block-end")) : []),
    ...reach.map((_, t) =>
      node("circle", { cx: left(t + 0.5), cy: top(t + 0.5), r: Math.min(cell / 4, 7), class: "own-step" }),
    ),
    ...lookedAt(error - 1, reach[error - 1], cell, left, top),
    ...axes(T, left, top),
  ]);
}

/** One path for all cells of a lag; the further back, the stronger its colour. */
function cellsByLag(reach, cell, left, top) {
  const furthest = Math.max(...reach);
  return Array.from({ length: furthest }, (_, lag) => {
    const squares = reach.map((steps, t) =>
      lag < steps ? `M${left(t - lag)} ${top(t)}h${cell}v${cell}h${-cell}z` : "",
    );
    const strength = 0.2 + (0.7 * (lag + 1)) / furthest;
    return node("path", { d: squares.join(""), class: "reached", "fill-opacity": strength });
  });
}

/** A frame around what one error reaches, and where cells are high an arrow to the furthest. */
function lookedAt(t, steps, cell, left, top) {
  const x = left(t - steps + 1);
  const y = top(t);
  const head = Math.min(cell / 2, 8);
  const middle = y + cell / 2;
  const arrow = `M${left(t + 0.5)} ${middle}H${x + 1}m${head} ${-head}l${-head} ${head}l${head} ${head}`;
  const drawn = [node("rect", { x, y, width: steps * cell, height: cell, class: "looked-at" })];
  if (cell * MOST_WITH_ARROW >= SIZE) drawn.push(node("path", { d: arrow, class: "looked-at" }));
  return drawn;
}

function axes(T, left, top) {
  const steps = ticks(1, T, MOST_TICKS);
  return [
    ...steps.map((step) => text(left(step - 0.5), TOP + SIZE + 24, step)),
    ...steps.map((step) => text(LEFT - 8, top(step - 0.5) + 6, step, "end")),
    text(LEFT + SIZE / 2, TOP + SIZE + 54, "step that is reached"),
    verticalText(20, TOP + SIZE / 2, "step of the error"),
  ];
}

/** The error of the row at a pointer, counted from 1. */
export function errorAt(svg, event, T) {
  const { y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(
    svg.getScreenCTM().inverse(),
  );
  return Math.min(Math.max(Math.ceil(((y - TOP) / SIZE) * T), 1), T);
}
