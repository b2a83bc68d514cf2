/** What is shown live goes on as long as it is wanted: how that is waited for, and said. */

/** Characters of what a device says that are shown. */
const MAX_SAID = 300;

/** What a device says, for people. */
export function sentence(said) {
  const text = said.slice(0, MAX_SAID);
  return `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`;
}

/** So many milliseconds, or until `signal` is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done, { once: true });
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}

/** Until `signal` is aborted. */
export function aborted(signal) {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", resolve, { once: true });
  });
}
