/** The system's share sheet, which has this page as a target once it is installed as an app. */

/** Where the worker puts what was shared with the app, and where it leads then. */
const CACHE = "~peerfetch shared";
const MARK = "?~peerfetch-shared";

/** Have the worker there, which takes what is shared, where the page is an app. */
export function beTarget() {
  if (!("serviceWorker" in navigator)) return;
  const register = () => navigator.serviceWorker.register("/~peerfetch/worker.js", { scope: "/" }).catch(() => {});
  addEventListener("appinstalled", register);
  if (matchMedia("(display-mode: standalone)").matches) register();
}

/** The files that the system has shared with the app just now; none as a rule. */
export async function sharedFiles() {
  if (location.search !== MARK) return [];
  history.replaceState(null, "", location.pathname + location.hash);
  const cache = await caches.open(CACHE);
  const files = [];
  for (const request of await cache.keys()) {
    const response = await cache.match(request);
    const name = decodeURIComponent(response.headers.get("file-name"));
    files.push(new File([await response.blob()], name, { type: response.headers.get("content-type") ?? "" }));
  }
  await caches.delete(CACHE);
  return files;
}
