/** The page of several cameras, which the device itself serves. */

import { $ } from "./elements.js";
import { Tiles } from "./tiles.js";

const cameras = await (await fetch("cameras.json")).json();
const tiles = new Tiles($("wall"));
tiles.show(
  cameras.map(({ name, path }) => {
    const { href } = new URL(path, location.href);
    return { path, name, href, camera: { base: href, fetch: (url, init) => fetch(url, init) } };
  }),
);
