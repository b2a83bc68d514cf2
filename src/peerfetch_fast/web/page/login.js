/** The dialog that asks a person for the user name and password that the device's server wants. */

import { $ } from "./elements.js";

/**
 * Ask for one login, `{realm, isWrong}`: the second where what was said before was not accepted. A promise of
 * `{user, password}`, null for who does not want to. One at a time.
 */
export function askForLogin({ realm, isWrong }) {
  const dialog = $("login");
  $("login-for").textContent = realm
    ? `This device’s page asks who you are, for “${realm}”.`
    : "This device’s page asks who you are.";
  $("login-wrong").hidden = !isWrong;
  $("login-password").value = "";
  dialog.showModal();
  (isWrong ? $("login-password") : $("login-user")).focus();
  return new Promise((resolve) => {
    let said = null;
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      said = { user: $("login-user").value, password: $("login-password").value };
      dialog.close();
    };
    $("login-cancel").onclick = () => dialog.close();
    // By the key Escape, too.
    dialog.onclose = () => {
      $("login-password").value = "";
      resolve(said);
    };
  });
}
