/**
 * The limits of a session: what this side grants and tolerates. Sizes in bytes, times in seconds. What a
 * peer can make this side hold is `maxData`, `fragments` times about 200 bytes, and `sendBuffer` for
 * each of `maxStreams` answers.
 */
export const SETTINGS = Object.freeze({
  /** Unread bytes over all streams, and of one. */
  maxData: 8 << 20,
  maxStreamData: 2 << 20,
  /** Streams that the other side may have open at once. */
  maxStreams: 256,
  /** Stream bytes in one message: what an urgent frame may have to wait behind. */
  chunkSize: 16 << 10,
  /** Unsent bytes of one stream above which a writer waits. */
  sendBuffer: 256 << 10,
  /** Bytes handed to the channel and not yet sent, above which it gets no more. */
  linkBuffer: 256 << 10,
  /** Pieces that may wait for an earlier one, over all streams. */
  fragments: 16384,
  /** PINGs that may wait for their PONG. */
  pings: 64,
  /** Time for the other side's SETTINGS to arrive. */
  settingsTimeout: 10,
  /**
   * Silence after which a PING is sent, after which one that is not answered has another path looked for, and
   * after which the other side is silent, or dead where the channel cannot move.
   */
  keepAlive: 1.5,
  quietAfter: 2,
  deadAfter: 5,
  /** Silence after which a session without streams sends a PING, where the channel looks after its path. */
  idleKeepAlive: 15,
  /** Time for which a silent session is kept with its streams, if the other side does so too. */
  resumeTimeout: 60,
});

/** The values that hold until the other side's SETTINGS arrive (docs/protocol.md, section 3). */
export const DEFAULTS = Object.freeze({ maxData: 262144, maxStreamData: 65536, maxStreams: 16 });
