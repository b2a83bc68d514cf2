/** A question about somebody in the room, over whatever the page shows. */

import { $ } from "./elements.js";

/** Milliseconds until nobody is there to answer. */
const PATIENCE = 80_000;

let isAsking = false;

/** Whether the person wants what `sentence` says. One is asked at a time: others are told that they would rather not. */
export async function askSomebody(sentence) {
  const dialog = $("asked");
  if (isAsking || dialog.open) return false;
  isAsking = true;
  $("asked-sentence").textContent = sentence;
  dialog.returnValue = "";
  dialog.showModal();
  const timer = setTimeout(() => dialog.close(), PATIENCE);
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  clearTimeout(timer);
  isAsking = false;
  return dialog.returnValue === "yes";
}
