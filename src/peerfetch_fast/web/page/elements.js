/** Elements, made and found. */

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A button that is hidden until there is something to be done with it. */
export const button = (name, textContent, className = "quiet") =>
  element("button", { type: "button", className, name, textContent, hidden: true });

/** One of the symbols in icons.svg. */
export function icon(name) {
  const [svg, use] = ["svg", "use"].map((tag) =>
    document.createElementNS("http://www.w3.org/2000/svg", tag),
  );
  use.setAttribute("href", `/~peerfetch/page/icons.svg#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Whether a click is for this tab: others open a new one, or save what the link leads to. */
export const isPlain = ({ button, ctrlKey, metaKey, shiftKey, altKey }) =>
  button === 0 && !ctrlKey && !metaKey && !shiftKey && !altKey;
