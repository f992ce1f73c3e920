/** A bar chart over whole numbers. */

import { draw, line, node, text, ticks, verticalText } from "./svg.js";

const WIDTH = 560;
const LEFT = 70;
const TOP = 30;
const BOTTOM = 60;
const MOST_NUMBERS = 16; // over bars
const MOST_TICKS = 12;

/**
 * Draws bars.
 *
 * @param bars pairs [place, height, class], places rising by 1.
 * @param options what the axes measure, x and y; number(value), the text over a bar, or beside the
 *   highest of many; band, how many bars from the left have a background; mark, the place of a
 *   dotted line, and its name.
 */
export function drawBars(svg, bars, { x, y, number, band = 0, mark }, alternative) {
  const height = svg.viewBox.baseVal.height - TOP - BOTTOM;
  const foot = TOP + height;
  const first = bars[0][0];
  const highest = Math.max(...bars.map(([, value]) => value)) || 1;
  const width = WIDTH / bars.length;
  const left = (place) => LEFT + (place - first) * width;
  const top = (value) => foot - (value / highest) * height;
  const drawn = bars.map(([place, value, className]) => {
    const box = { x: left(place) + width * 0.1, y: top(value), width: width * 0.8 };
    return node("rect", { ...box, height: foot - top(value), class: `bar ${className}` });
  });
  const isNumbered = number && bars.length <= MOST_NUMBERS;
  const numbered = isNumbered ? bars.filter(([, value]) => value) : [];
  const frame = { x: LEFT, y: TOP, width: band * width, height };
  draw(svg, alternative, [
    node("rect", { ...frame, class: "band" }),
    ...(mark ? marked(left(mark.place + 0.5), foot, mark.name) : []),
    ...drawn,
    ...numbered.map(([place, value]) => text(left(place + 0.5), top(value) - 7, number(value))),
    ...(number && !isNumbered ? [text(LEFT - 8, TOP + 6, number(highest), "end")] : []),
    line(LEFT, foot, LEFT + WIDTH, foot, "axis"),
    ...ticks(first, first + bars.length - 1, MOST_TICKS).map((place) =>
      text(left(place + 0.5), foot + 24, place),
    ),
    text(LEFT + WIDTH / 2, foot + 52, x),
    verticalText(20, TOP + height / 2, y),
  ]);
}

const marked = (x, foot, name) => [line(x, TOP, x, foot, "level"), text(x, TOP - 8, name)];
