// What every peer in JavaScript does once its channel is open (README.md).

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
    this.done = () => {};
    this.echoed = null;
    this.echoing = false;
  }

  async bulk(bytes, seconds) {
    const done = new Promise((resolve) => { this.done = resolve; });
    this.send('bulk');
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
    this.send('end');
    await done;
    this.host.tell('sent', { bytes: at, cpu_us: this.host.cpu() - before });
  }

  ping(bytes, seconds) {
    this.send('ping');
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
      if (this.at === 0) {
        this.first = data.length;
        this.began = now;
        this.stall = 0;
      } else {
        this.stall = Math.max(this.stall, now - this.last);
      }
      this.last = now;
      if (!this.host.same(this.host.piece(this.at, data.length), data)) {
        this.host.tell('wrong', { message: `the message at ${this.at} differs from what was sent` });
      }
      this.at += data.length;
    }
  }

  text(text) {
    if (text === 'bulk') {
      this.echoing = false;
      this.at = 0;
      this.before = this.host.cpu();
    } else if (text === 'ping') {
      this.echoing = true;
    } else if (text === 'end') {
      const seconds = (performance.now() - this.began) / 1000;
      this.host.tell('received', {
        bytes: this.at,
        bytes_after_first: this.at - this.first,
        seconds,
        stall_s: this.stall / 1000,
        cpu_us: this.host.cpu() - this.before,
      });
      this.send('done');
    } else if (text === 'done') {
      this.done();
    }
  }
}

/** The channel is open. */
export function opened(host, send, buffered) {
  host.end = new End(host, send, buffered);
  host.tell('open');
  return host.end;
}

/** Send something to the other end before there is a channel. */
export function signal(host, data) {
  host.tell('signal', { data });
}

/** Carry out the benchmark's commands; signaling goes to `accept`. */
export function listen(host, accept) {
  host.onCommand((command) => {
    if (command.type === 'signal') accept(command.data);
    else if (command.type === 'bulk') host.end.bulk(command.message_bytes, command.seconds);
    else host.end.ping(command.message_bytes, command.seconds);
  });
}
