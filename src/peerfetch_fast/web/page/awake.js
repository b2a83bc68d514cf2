/** While files or pictures are sent, the screen stays on and nobody leaves unasked: both would end that. */

/** Begin; returns what ends it again. */
export function stayAwake() {
  let [isOver, lock] = [false, null];
  // A browser takes the lock away whenever the page is hidden.
  const acquire = async () => {
    if (isOver || document.visibilityState !== "visible") return;
    const granted = await navigator.wakeLock?.request("screen").catch(() => null);
    if (isOver) granted?.release();
    else lock = granted;
  };
  const leaving = (event) => event.preventDefault();
  addEventListener("beforeunload", leaving);
  document.addEventListener("visibilitychange", acquire);
  acquire();
  return () => {
    isOver = true;
    removeEventListener("beforeunload", leaving);
    document.removeEventListener("visibilitychange", acquire);
    lock?.release().catch(() => {});
  };
}
