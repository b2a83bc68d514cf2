// What every Node peer does once its channel is open, and how it speaks with the benchmark (README.md).

import fs from 'node:fs';
import readline from 'node:readline';

const [role, patternFile, period, high, low, ...rest] = process.argv.slice(2);
const PERIOD = Number(period);
const HIGH = Number(high);
const pattern = fs.readFileSync(patternFile);

/** Whether this end makes the offer and the channel. */
export const offering = role === 'offer';

/** Bytes at which the channel says that it wants more. */
export const LOW = Number(low);

/** Bytes of the largest UDP payload. */
export const DATAGRAM = Number(rest[0]);

function tell(type, fields) {
  process.stdout.write(`${JSON.stringify({ type, ...fields })}\n`);
}

/** Send something to the other end before there is a channel. */
export function signal(data) {
  tell('signal', { data });
}

function cpu() {
  const used = process.cpuUsage();
  return used.user + used.system;
}

function piece(at, length) {
  return pattern.subarray(at % PERIOD, (at % PERIOD) + length);
}

/**
 * Both roles on an open channel: who was asked to send, and who answers.
 *
 * The stack calls text(), binary() and low(); it gives send(data), which takes strings and buffers,
 * and buffered().
 */
class End {
  constructor(send, buffered) {
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
    const before = cpu();
    const until = performance.now() + seconds * 1000;
    let at = 0;
    while (performance.now() < until) {
      if (this.buffered() > HIGH) {
        await new Promise((resolve) => { this.low = resolve; });
      }
      this.send(piece(at, bytes));
      at += bytes;
    }
    this.send('end');
    await done;
    tell('sent', { bytes: at, cpu_us: cpu() - before });
  }

  ping(bytes, seconds) {
    this.send('ping');
    const message = piece(0, bytes);
    const latencies = [];
    const until = performance.now() + seconds * 1000;
    let began = performance.now();
    this.echoed = (data) => {
      const now = performance.now();
      latencies.push((now - began) * 1000);
      if (!message.equals(data)) tell('wrong', { message: 'an echo differs from what was sent' });
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
      if (this.at === 0) {
        this.first = data.length;
        this.began = performance.now();
      }
      if (!piece(this.at, data.length).equals(data)) {
        tell('wrong', { message: `the message at ${this.at} differs from what was sent` });
      }
      this.at += data.length;
    }
  }

  text(text) {
    if (text === 'bulk') {
      this.echoing = false;
      this.at = 0;
      this.before = cpu();
    } else if (text === 'ping') {
      this.echoing = true;
    } else if (text === 'end') {
      const seconds = (performance.now() - this.began) / 1000;
      tell('received', {
        bytes: this.at, bytes_after_first: this.at - this.first, seconds, cpu_us: cpu() - this.before,
      });
      this.send('done');
    } else if (text === 'done') {
      this.done();
    }
  }
}

/** The channel is open. */
let end;
export function opened(send, buffered) {
  end = new End(send, buffered);
  tell('open');
  return end;
}

/** Carry out the benchmark's commands; signaling goes to `accept`. */
export function listen(accept) {
  const commands = readline.createInterface({ input: process.stdin });
  commands.on('line', (line) => {
    const command = JSON.parse(line);
    if (command.type === 'signal') accept(command.data);
    else if (command.type === 'bulk') end.bulk(command.message_bytes, command.seconds);
    else end.ping(command.message_bytes, command.seconds);
  });
  commands.on('close', () => process.exit());
}
