/** Pieces of bytes over a socket, each of which is sent when the other side asks for it. */

import { Buffer } from "./buffer.js";
import { Readable } from "./readable.js";
import { Writable } from "./writable.js";

/** The first byte of each message. */
const NEXT = 0;
const CANCEL = 1;
const DATA = 2;
const ERROR = 3;
const END = 4;

/** Pieces that the other side may ask for before one is sent. */
const MAX_ASKED = 16;

const encoder = new TextEncoder();

/** Two of them, one over each end of a socket, are a stream each way. */
export class NetworkStream {
  #timeout;
  #timer;
  /** Pieces that the other side has asked for, and what wakes who waits for that. */
  #asked = 0;
  #wakeWriter = null;
  /** Takes the piece that we have asked for, or what ends the stream; null while nobody has asked. */
  #answer = null;
  /** What ends it and came before somebody asked. */
  #last = null;
  #over = null;

  /**
   * @param socket a Socket that is open
   * @param timeout milliseconds after which a side that is waited for, and says nothing, is given up
   */
  constructor(socket, timeout = 8000) {
    this.socket = socket;
    this.#timeout = timeout;
    this.readable = new Readable({ pull: (controller) => this.#pull(controller), cancel: () => this.#cancel() });
    this.writable = new Writable({
      write: (piece) => this.#put(DATA, piece),
      close: () => this.#put(END),
      abort: (error) => this.#put(ERROR, encoder.encode(error.message)),
    });
    socket.on("message", ({ data }) => this.#take(data));
    socket.on("error", () => this.#end(new Error("The socket of this stream has failed.")));
    socket.on("close", () => this.#end(new Error("The other side has closed this stream.")));
  }

  #wait() {
    clearTimeout(this.#timer);
    if (!this.#answer && !this.#wakeWriter) return;
    this.#timer = setTimeout(() => this.#fail(new Error("The other side of this stream is silent.")), this.#timeout);
  }

  #fail(error) {
    this.#end(error);
    this.socket.close();
  }

  #end(error) {
    if (this.#over) return;
    this.#over = error;
    clearTimeout(this.#timer);
    this.#wakeWriter?.();
    this.#answer?.({ type: ERROR, data: encoder.encode(error.message) });
  }

  #take(message) {
    if (this.#over) return;
    const type = message[0];
    const data = message.subarray(1);
    if (type === NEXT && this.#asked < MAX_ASKED) {
      this.#asked++;
      this.#wakeWriter?.();
    } else if (type === CANCEL) {
      this.#fail(new Error("Readable cancelled"));
    } else if (type === ERROR || type === END || (type === DATA && this.#answer)) {
      if (this.#answer) this.#answer({ type, data });
      else this.#last = { type, data };
    } else {
      this.#fail(new Error("The other side sent what nobody has asked for."));
    }
    this.#wait();
  }

  #send(type, data = new Uint8Array(0)) {
    this.socket.send(Buffer.concat([Uint8Array.of(type), data]));
  }

  async #pull(controller) {
    const { type, data } = this.#last ?? (await this.#next());
    if (type === DATA) return controller.enqueue(Buffer.from(data));
    this.socket.close();
    if (type === ERROR) throw new Error(new TextDecoder().decode(data));
    controller.close();
  }

  async #next() {
    if (this.#over) throw this.#over;
    const answered = new Promise((resolve) => (this.#answer = resolve));
    this.#send(NEXT);
    this.#wait();
    const found = await answered;
    this.#answer = null;
    this.#wait();
    return found;
  }

  #cancel() {
    if (this.#over) return;
    this.#send(CANCEL);
    this.socket.close();
  }

  /** Wait until the other side has asked for a piece. Throws Error. */
  async _wanted() {
    if (this.#asked === 0 && !this.#over) {
      const asked = new Promise((resolve) => (this.#wakeWriter = resolve));
      this.#wait();
      await asked;
      this.#wakeWriter = null;
      this.#wait();
    }
    if (this.#over) throw this.#over;
  }

  async #put(type, data) {
    await this._wanted();
    this.#asked--;
    this.#send(type, data);
    if (type !== DATA) this.socket.close();
  }
}
