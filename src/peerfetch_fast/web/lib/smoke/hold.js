/**
 * Names that one holder at most has among the tabs of this origin, by Web Locks: what a tab held is free once it
 * is closed, however that came. Where there are none (a page of HTTP, an opaque origin), among the nodes of this page.
 */

const here = new Set();

function lockManager() {
  try {
    return globalThis.navigator?.locks ?? null;
  } catch {
    return null;
  }
}

function request(locks, name) {
  return new Promise((resolve, reject) => {
    const granted = (lock) => (lock ? new Promise((release) => resolve(release)) : resolve(null));
    locks.request(name, { ifAvailable: true }, granted).catch(reject);
  });
}

/** Take a name: what gives it back; null if somebody has it. */
export async function hold(name) {
  if (here.has(name)) return null;
  here.add(name);
  const locks = lockManager();
  let release = () => {};
  try {
    if (locks) release = await request(locks, name);
  } catch {
    // An opaque origin has a manager that refuses everybody.
  }
  if (!release) here.delete(name);
  return release && (() => (here.delete(name), release()));
}

/** The names that are held, here and in other tabs. */
export async function held() {
  try {
    const { held: found } = await lockManager().query();
    return new Set([...here, ...found.map(({ name }) => name)]);
  } catch {
    return here;
  }
}

/** Whether other tabs take part. */
export const reachesTabs = () => lockManager() !== null && globalThis.BroadcastChannel !== undefined;
