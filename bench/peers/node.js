// What a peer in Node runs in: its arguments, and the benchmark behind stdin and stdout (README.md).

import fs from 'node:fs';
import readline from 'node:readline';

const [role, patternFile, period, high, low, ...rest] = process.argv.slice(2);
const pattern = fs.readFileSync(patternFile);

export const host = {
  /** Whether this end makes the offer and the channel. */
  offering: role === 'offer',

  /** Bytes of `bufferedAmount` above which a sender waits, and those at which it goes on. */
  HIGH: Number(high),
  LOW: Number(low),

  /** Bytes of the largest UDP payload. */
  DATAGRAM: Number(rest[0]),

  tell(type, fields) {
    process.stdout.write(`${JSON.stringify({ type, ...fields })}\n`);
  },

  onCommand(carryOut) {
    const commands = readline.createInterface({ input: process.stdin });
    commands.on('line', (line) => carryOut(JSON.parse(line)));
    commands.on('close', () => process.exit());
  },

  /** Microseconds of CPU that this process has used. */
  cpu() {
    const used = process.cpuUsage();
    return used.user + used.system;
  },

  /** The pattern's bytes at a place. */
  piece(at, length) {
    const start = at % Number(period);
    return pattern.subarray(start, start + length);
  },

  same: (one, other) => one.equals(other),
};
