// What every peer in JavaScript does once its channel is open (README.md).

// Messages that one may overtake.
const AHEAD = 4096;

/** Messages of one size that together follow the pattern, and come in any order. */
class Arrivals {
  constructor(host) {
    this.host = host;
    this.count = 0;
    this.size = 0;
    this.next = 0;
    this.overtaken = new Set();
  }

  /** Whether `message` is one that has not come yet. */
  take(message) {
    const size = message.length;
    this.size ||= size;
    if (!size || size !== this.size) return false;
    const holds = (at) => this.host.same(this.host.piece(at, size), message);
    if (holds(this.next)) {
      this.next += size;
    } else {
      const late = [...this.overtaken].find(holds);
      if (late !== undefined) {
        this.overtaken.delete(late);
      } else {
        let at = this.next + size;
        while (!holds(at)) {
          at += size;
          if (at >= this.next + AHEAD * size) return false;
        }
        for (let missing = this.next; missing < at; missing += size) this.overtaken.add(missing);
        this.next = at + size;
      }
    }
    this.count += size;
    return true;
  }
}

/**
 * Both roles on an open channel: who was asked to send, and who answers.
 *
 * The stack calls text(), binary() and low(); it gives send(data), which takes strings and bytes,
 * and buffered(). The host is what the program runs in: node.js or browser.js.
 */
class End {
  constructor(host, send, buffered) {
    this.host = host;
    this.send = send;
    this.buffered = buffered;
    this.low = () => {};
    this.ready = () => {};
    this.done = () => {};
    this.echoed = null;
    this.echoing = false;
    this.arrivals = new Arrivals(host);
  }

  /** Wait until the other end knows what is coming, as messages may overtake each other. */
  async agree(kind) {
    const ready = new Promise((resolve) => { this.ready = resolve; });
    this.send(kind);
    await ready;
  }

  async bulk(bytes, seconds) {
    const done = new Promise((resolve) => { this.done = resolve; });
    await this.agree('bulk');
    const before = this.host.cpu();
    const until = performance.now() + seconds * 1000;
    let at = 0;
    while (performance.now() < until) {
      if (this.buffered() > this.host.HIGH) {
        await new Promise((resolve) => { this.low = resolve; });
      }
      this.send(this.host.piece(at, bytes));
      at += bytes;
    }
    this.send(`end ${at}`);
    await done;
    this.host.tell('sent', { bytes: at, cpu_us: this.host.cpu() - before });
  }

  async ping(bytes, seconds) {
    await this.agree('ping');
    const { piece, same, tell } = this.host;
    const message = piece(0, bytes);
    const latencies = [];
    const until = performance.now() + seconds * 1000;
    let began = performance.now();
    this.echoed = (data) => {
      const now = performance.now();
      latencies.push((now - began) * 1000);
      if (!same(message, data)) tell('wrong', { message: 'an echo differs from what was sent' });
      if (now > until) {
        tell('pinged', { latencies_us: latencies });
        return;
      }
      began = performance.now();
      this.send(message);
    };
    this.send(message);
  }

  binary(data) {
    if (this.echoed) {
      this.echoed(data);
    } else if (this.echoing) {
      this.send(data);
    } else {
      const now = performance.now();
      if (this.arrivals.count === 0) {
        this.first = data.length;
        this.began = now;
        this.stall = 0;
      } else {
        this.stall = Math.max(this.stall, now - this.last);
      }
      this.last = now;
      if (!this.arrivals.take(data)) {
        this.host.tell('wrong', { message: `${data.length} bytes that were not sent, or came before` });
      }
      this.endIfComplete();
    }
  }

  text(text) {
    const [kind, total] = text.split(' ');
    if (kind === 'bulk' || kind === 'ping') {
      this.echoing = kind === 'ping';
      this.arrivals = new Arrivals(this.host);
      this.total = null;
      this.before = this.host.cpu();
      this.send('ready');
    } else if (kind === 'end') {
      this.total = Number(total);
      this.endIfComplete();
    } else if (kind === 'ready') {
      this.ready();
    } else if (kind === 'done') {
      this.done();
    }
  }

  endIfComplete() {
    if (this.arrivals.count !== this.total) return;
    const seconds = (performance.now() - this.began) / 1000;
    this.host.tell('received', {
      bytes: this.total,
      bytes_after_first: this.total - this.first,
      seconds,
      stall_s: this.stall / 1000,
      cpu_us: this.host.cpu() - this.before,
    });
    this.send('done');
  }
}

/** The channel is open. */
export function opened(host, send, buffered) {
  host.end = new End(host, send, buffered);
  host.tell('open');
  host.isOpen();
  return host.end;
}

/** Send something to the other end before there is a channel. */
export function signal(host, data) {
  host.tell('signal', { data });
}

/** Carry out the benchmark's commands, once the channel is open; signaling goes to `accept`. */
export function listen(host, accept) {
  const open = new Promise((resolve) => { host.isOpen = resolve; });
  host.onCommand(async (command) => {
    if (command.type === 'signal') {
      accept(command.data);
      return;
    }
    await open;
    if (command.type === 'bulk') host.end.bulk(command.message_bytes, command.seconds);
    else host.end.ping(command.message_bytes, command.seconds);
  });
}
