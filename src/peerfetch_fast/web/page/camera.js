/** The page of one camera, which the camera itself serves. */

import { CameraPanel } from "./camera_panel.js";
import { $ } from "./elements.js";
import { nameOfCamera } from "./format.js";

const camera = { base: new URL("./", location.href).href, fetch: (url, init) => fetch(url, init) };

/** The name that the camera has, or its path. */
async function ownName() {
  const byPath = nameOfCamera(location.pathname);
  try {
    const { name } = await (await fetch("info")).json();
    return name ?? byPath;
  } catch {
    return byPath;
  }
}

const name = await ownName();
document.title = $("name").textContent = name;
const panel = new CameraPanel(camera, name);
$("alone").append(panel.element);
panel.start();
