/** The questions to a person before there is a connection. */

import { $ } from "./elements.js";

export const WRONG =
  "That is not the access token of this device. After five wrong ones it refuses more for ten minutes.";

/**
 * The access token that the person enters; null when they would rather not.
 * @param isAgain whether one was entered, and is not the device's
 * @param signal ends the question, with null
 */
export async function askForToken({ isAgain, signal }) {
  $("access-error").textContent = isAgain ? WRONG : "";
  $("access-error").hidden = !isAgain;
  $("token").value = "";
  $("token").focus();
  const isGiven = await answer($("access-form"), $("access-cancel"), signal, () => $("token").value);
  return isGiven ? $("token").value : null;
}

/**
 * The digits that a device shows, as the person enters them; null when they would rather not.
 * @param name what the device calls itself
 * @param problem what was wrong with those that were entered, if any were
 * @param signal as above
 */
export async function askForDigits({ name, problem, signal }) {
  $("digits-of").textContent = name;
  $("digits-error").textContent = problem ?? "";
  $("digits-error").hidden = !problem;
  $("typed-digits").value = "";
  $("typed-digits").focus();
  const isGiven = await answer($("digits-form"), $("digits-cancel"), signal, () => $("typed-digits").value);
  return isGiven ? $("typed-digits").value : null;
}

/** Whether the person takes a device with another certificate than this browser knows for the same. */
export async function askWhetherToTrust({ known, shown, signal }) {
  $("trust-seen").textContent = new Date(known.seen).toLocaleDateString(undefined, { dateStyle: "long" });
  $("trust-known").textContent = known.pin;
  $("trust-shown").textContent = shown;
  $("trust-title").focus();
  return answer($("trust-form"), $("trust-cancel"), signal);
}

/** Whether the form was sent, with something in it, before it was cancelled. */
function answer(form, cancel, signal, isFilled = () => true) {
  return new Promise((resolve) => {
    const done = new AbortController();
    const settle = (result) => {
      done.abort();
      resolve(result);
    };
    const once = { signal: done.signal };
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        if (isFilled()) settle(true);
      },
      once,
    );
    cancel.addEventListener("click", () => settle(false), once);
    signal.addEventListener("abort", () => settle(false), once);
  });
}
