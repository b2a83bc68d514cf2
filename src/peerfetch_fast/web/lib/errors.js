/**
 * The errors, and the codes that stand for them on the wire (docs/protocol.md, section 6).
 *
 *     PeerfetchError
 *     ├── ConnectError      no connection could be made
 *     ├── SessionError      a connection has ended
 *     ├── StreamError       a stream has ended before its time
 *     └── MessageError      a message breaks the protocol
 */

export const SessionCode = Object.freeze({
  NO_ERROR: 0x00,
  INTERNAL_ERROR: 0x01,
  FLOW_CONTROL_ERROR: 0x03,
  STREAM_LIMIT_ERROR: 0x04,
  STREAM_STATE_ERROR: 0x05,
  FINAL_SIZE_ERROR: 0x06,
  FRAME_ENCODING_ERROR: 0x07,
  SETTINGS_ERROR: 0x08,
  PROTOCOL_VIOLATION: 0x0a,
  EXCESSIVE_LOAD: 0x10,
  ACCESS_DENIED: 0x20,
});

export const StreamCode = Object.freeze({
  NO_ERROR: 0x100,
  INTERNAL_ERROR: 0x102,
  EXCESSIVE_LOAD: 0x107,
  REQUEST_REJECTED: 0x10b,
  REQUEST_CANCELLED: 0x10c,
  REQUEST_INCOMPLETE: 0x10d,
  MESSAGE_ERROR: 0x10e,
  UPSTREAM_ERROR: 0x10f,
});

/** The base of all errors here. */
export class PeerfetchError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** Connecting failed; `reason` is one of the words in peerfetch.d.ts. */
export class ConnectError extends PeerfetchError {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/** The session is over; `code` is one of SessionCode. */
export class SessionError extends PeerfetchError {
  constructor(code, reason) {
    super(reason);
    this.code = code;
  }
}

/** The other side ended one direction of a stream before its time; `code` is one of StreamCode. */
export class StreamError extends PeerfetchError {
  constructor(code, reason) {
    super(`${reason} (code 0x${code.toString(16)})`);
    this.code = code;
  }
}

/** A message that docs/protocol.md, section 7 forbids. */
export class MessageError extends PeerfetchError {
  /** @param status what a server answers to such a request */
  constructor(reason, status = 400) {
    super(reason);
    this.status = status;
  }
}
