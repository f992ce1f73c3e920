/** The losses of several networks over their updates. */

import { CHANCE, ENTROPY } from "./delay_task.js";
import { draw, line, node, text, ticks, verticalText } from "./svg.js";

const WIDTH = 540;
const HEIGHT = 240;
const LEFT = 70;
const TOP = 20;
const HIGHEST = 0.8; // nats; what lies above is drawn there
const GROUP = 10; // updates whose mean is one point

const top = (loss) => TOP + HEIGHT * (1 - Math.min(loss, HIGHEST) / HIGHEST);

/** Draws losses, one array for each network, against 0..most updates. */
export function drawLosses(svg, losses, most, alternative) {
  const left = (updates) => LEFT + (WIDTH * updates) / most;
  const level = (loss, name, below) => [
    line(LEFT, top(loss), LEFT + WIDTH, top(loss), "level"),
    text(LEFT + WIDTH, top(loss) + below, name, "end"),
  ];
  draw(svg, alternative, [
    ...level(CHANCE, "chance", -10),
    ...level(ENTROPY, "past known", 26),
    ...losses.map((of, i) => node("path", { d: curve(of, left), class: `curve curve-${i}` })),
    line(LEFT, TOP + HEIGHT, LEFT + WIDTH, TOP + HEIGHT, "axis"),
    ...ticks(0, most, 5).map((n) => text(left(n), TOP + HEIGHT + 24, n)),
    ...[0, 0.2, 0.4, 0.6, 0.8].map((loss) => text(LEFT - 8, top(loss) + 6, loss, "end")),
    text(LEFT + WIDTH / 2, TOP + HEIGHT + 52, "updates"),
    verticalText(20, TOP + HEIGHT / 2, "loss, nats per step"),
  ]);
}

/** The means of groups of updates as a path. */
function curve(losses, left) {
  const points = [];
  for (let end = GROUP; end <= losses.length; end += GROUP) {
    const mean = losses.slice(end - GROUP, end).reduce((sum, each) => sum + each, 0) / GROUP;
    points.push(`${left(end - GROUP / 2).toFixed(1)} ${top(mean).toFixed(1)}`);
  }
  return points.length ? `M${points.join("L")}` : "M0 0";
}
