/** Two ends of a channel in this page, each with as much of RTCDataChannel as a Session uses. */

class MemoryChannel {
  #other = null;
  readyState = "open";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  onmessage = null;
  onbufferedamountlow = null;
  onclose = null;

  static pair() {
    const [one, other] = [new MemoryChannel(), new MemoryChannel()];
    [one.#other, other.#other] = [other, one];
    return [one, other];
  }

  send(message) {
    const data = message.slice().buffer; // the sender uses its buffer again
    this.bufferedAmount += data.byteLength;
    // Not a timer, which browsers slow down in pages that are not seen.
    queueMicrotask(() => {
      const before = this.bufferedAmount;
      this.bufferedAmount -= data.byteLength;
      this.#other.onmessage?.({ data });
      const low = this.bufferedAmountLowThreshold;
      if (before > low && this.bufferedAmount <= low) this.onbufferedamountlow?.();
    });
  }

  close() {
    for (const end of [this, this.#other]) {
      if (end.readyState === "closed") continue;
      end.readyState = "closed";
      queueMicrotask(() => end.onclose?.());
    }
  }
}

/** The two ends. */
export const channelPair = () => MemoryChannel.pair();
