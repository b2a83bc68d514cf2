/** A stream of a peer that outlives the connections by which it comes. */

/** Milliseconds until a connection is made again: at first, and in the end. */
const RETRY = { least: 250, most: 15_000 };
/** Milliseconds between looks whether anybody still uses the stream: no event tells. */
const LOOK = 500;

/**
 * The MediaStream of what `watch` gives. When its connection ends, because a network has changed, say, its tracks are
 * exchanged for those of another one; it ends when all its tracks are stopped, or the peer is closed.
 * @param watch makes a connection: as watch() of whep.js. Its first error is passed on
 * @param isClosed whether the peer is closed
 * @returns {Promise<MediaStream>}
 */
export async function keptStream(watch, isClosed) {
  const live = await watch();
  const stream = new MediaStream(live.stream.getTracks());
  keep(stream, live, watch, isClosed);
  return stream;
}

const isUsed = (stream) => stream.getTracks().some(({ readyState }) => readyState === "live");

async function keep(stream, first, watch, isClosed) {
  const isWanted = () => isUsed(stream) && !isClosed();
  let live = first;
  while (live && isWanted()) {
    let isOver = false;
    live.closed.then(() => (isOver = true));
    while (!isOver && isWanted()) await pause(LOOK);
    if (!isWanted()) break;
    const next = await again(watch, isWanted);
    if (next) exchange(stream, next.stream);
    live.close();
    live = next;
  }
  live?.close();
  for (const track of stream.getTracks()) track.stop();
}

/** Another connection; null once nobody wants one any more. */
async function again(watch, isWanted) {
  for (let wait = RETRY.least; isWanted(); wait = Math.min(2 * wait, RETRY.most)) {
    try {
      const next = await watch();
      if (isWanted()) return next;
      next.close();
    } catch {
      await pause(wait);
    }
  }
  return null;
}

/** Put the tracks of another stream in the place of those of their kinds. */
function exchange(stream, other) {
  for (const track of other.getTracks()) {
    const before = stream.getTracks().find(({ kind }) => kind === track.kind);
    if (before) {
      // What the page has stopped or silenced stays so.
      track.enabled = before.enabled;
      if (before.readyState === "ended") track.stop();
      stream.removeTrack(before);
    }
    stream.addTrack(track);
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
