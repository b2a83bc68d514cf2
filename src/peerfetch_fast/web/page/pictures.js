/** What is shown live: its size, and what is said below it. */

import { element } from "./elements.js";

/** The pixels of a video, a canvas or an img; 0 by 0 before there are any. */
export function sizeOf(shown) {
  const width = shown?.videoWidth ?? shown?.naturalWidth ?? shown?.width ?? 0;
  const height = shown?.videoHeight ?? shown?.naturalHeight ?? shown?.height ?? 0;
  return { width, height };
}

/** Give a picture's place the shape of what is shown there: a phone is held upright. */
export function shape(place, shown) {
  const { width, height } = sizeOf(shown);
  if (width > 0 && height > 0) place.style.aspectRatio = `${width} / ${height}`;
}

/** Say these, but for those that are null, in a line that breaks between them. */
export function sayFigures(line, parts) {
  const said = parts.filter((part) => part !== null).map((textContent) => element("span", { textContent }));
  line.replaceChildren(...said.flatMap((one, number) => (number === 0 ? [one] : [" · ", one])));
}
