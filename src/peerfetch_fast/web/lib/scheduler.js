/**
 * The order of sending: RFC 9218 urgency first, equals in turn (docs/protocol.md, section 4). Within an
 * urgency the incremental streams and the oldest sequential one take turns.
 */
export class Scheduler {
  /** For each urgency those whose turn comes; null stands for the sequential ones. */
  #turns = Array.from({ length: 8 }, () => []);
  #sequential = Array.from({ length: 8 }, () => []);

  add(stream) {
    if (stream.scheduled) return;
    stream.scheduled = true;
    const turns = this.#turns[stream.urgency];
    if (stream.incremental) {
      turns.push(stream);
      return;
    }
    const sequential = this.#sequential[stream.urgency];
    if (sequential.length === 0) turns.push(null);
    sequential.push(stream);
    sequential.sort((one, other) => one.id - other.id);
  }

  discard(stream) {
    if (!stream.scheduled) return;
    stream.scheduled = false;
    const turns = this.#turns[stream.urgency];
    if (!stream.incremental) {
      const sequential = this.#sequential[stream.urgency];
      sequential.splice(sequential.indexOf(stream), 1);
      if (sequential.length === 0) turns.splice(turns.indexOf(null), 1);
    } else {
      turns.splice(turns.indexOf(stream), 1);
    }
  }

  /** The stream whose turn it is, or null. */
  head() {
    const urgency = this.#turns.findIndex((turns) => turns.length > 0);
    if (urgency < 0) return null;
    return this.#turns[urgency][0] ?? this.#sequential[urgency][0];
  }

  /** `stream`, the head, has sent a chunk; it has `more` or leaves the queue. */
  advance(stream, more) {
    const turns = this.#turns[stream.urgency];
    turns.push(turns.shift());
    if (!more) this.discard(stream);
  }
}
