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

/**
 * Do something again and again until `signal` is aborted: `least` milliseconds after it has ended, then twice as long
 * each time, `most` at the most, and `least` again where it went on for longer than that.
 * @param {AbortSignal} signal
 * @param way `least` and `most`; `begins()`, called each time before `work()`; `waits(message)`, called once that has
 *   failed, or with `ended` where it has ended by itself
 */
export async function again(signal, { least, most, begins, work, ended, waits }) {
  for (let wait = least; !signal.aborted; ) {
    begins();
    const began = performance.now();
    let message = ended;
    try {
      await work();
    } catch (error) {
      message = sentence(error.message);
    }
    if (signal.aborted) return;
    wait = performance.now() - began > most ? least : Math.min(2 * wait, most);
    waits(message);
    await pause(wait, signal);
  }
}

/** Until `signal` is aborted. */
export function aborted(signal) {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", resolve, { once: true });
  });
}
