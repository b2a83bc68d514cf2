// What a peer in a browser runs in: its arguments in the address, and the benchmark behind a WebSocket,
// at whose other end is chromium.py.

import { run } from './w3c.js';

const [role, period, high, low] = new URLSearchParams(location.search).getAll('argument');
const pattern = new Uint8Array(await (await fetch('/pattern')).arrayBuffer());
const socket = new WebSocket('/benchmark');
await new Promise((resolve) => { socket.onopen = resolve; });

run(new RTCPeerConnection(), {
  offering: role === 'offer',
  HIGH: Number(high),
  LOW: Number(low),
  tell: (type, fields) => socket.send(JSON.stringify({ type, ...fields })),
  onCommand(carryOut) {
    socket.onmessage = ({ data }) => carryOut(JSON.parse(data));
  },
  cpu: () => 0, // A page cannot know: chromium.py does.
  piece(at, length) {
    const start = at % Number(period);
    return pattern.subarray(start, start + length);
  },
  same: (one, other) => one.length === other.length && one.every((byte, i) => byte === other[i]),
});
