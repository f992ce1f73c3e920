/** Making SVG. Colours are classes of explorer.css, so that they follow the theme. */

/** An element with attributes and children. */
export function node(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A text; anchor is start, middle or end. */
export const text = (x, y, content, anchor = "middle") =>
  node("text", { x, y, "text-anchor": anchor }, String(content));

/** A line of a class. */
export const line = (x1, y1, x2, y2, className) =>
  node("line", { x1, y1, x2, y2, class: className });

/** A text along a vertical axis, in the middle of it. */
export function verticalText(x, y, content) {
  const made = text(x, y, content);
  made.setAttribute("transform", `rotate(-90 ${x} ${y})`);
  return made;
}

/** Puts a drawing in place of the last one, with the text that stands for it. */
export function draw(svg, alternative, children) {
  svg.setAttribute("aria-label", alternative);
  svg.replaceChildren(...children);
}

/** Whole numbers to label from low to high: multiples of a round distance, at most about `most`. */
export function ticks(low, high, most) {
  const distance = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((d) => (high - low) / d <= most);
  const first = Math.ceil(low / distance) * distance;
  return Array.from({ length: Math.floor((high - first) / distance) + 1 }, (_, i) => first + i * distance);
}
