/** By which certificate devices know this browser, where they have let it in by name. */

import { keptCertificate } from "../lib/certificate.js";

const NAME = "page";
let found = null;

/** The name that it is kept under, for `identity`; null where the browser keeps nothing: then by none. */
export function ownIdentity() {
  found ??= keptCertificate(NAME).then(
    () => NAME,
    () => null,
  );
  return found;
}
