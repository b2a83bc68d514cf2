// A peer for the interoperation tests: another WebRTC stack, told what to do in JSON lines on stdin.
// It says what it has to say in JSON lines on stdout. What a data channel does is in its label:
//   echo            sends every message back
//   sink:COUNT      takes COUNT binary messages, then sends their digest as text
//   source:COUNT    once told to start, sends COUNT messages of 16 KiB and their digest as text
// A digest is the XOR of the messages' SHA-256: it does not depend on their order.
import { createHash, randomBytes } from "node:crypto";
import { createInterface } from "node:readline";

const stacks = {
  libdatachannel: async () => (await import("node-datachannel/polyfill")).RTCPeerConnection,
  libwebrtc: async () => (await import("@roamhq/wrtc")).default.RTCPeerConnection,
};
const RTCPeerConnection = await stacks[process.argv[2]]();
const HIGH_WATER = 1 << 20;

const connection = new RTCPeerConnection({ iceServers: [] });
const channels = []; // one that nobody holds on to may be collected, and its events with it
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

async function room(channel) {
  while (channel.bufferedAmount > HIGH_WATER) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function digest() {
  const sum = Buffer.alloc(32);
  return {
    add: (message) => {
      const hash = createHash("sha256").update(message).digest();
      for (let i = 0; i < sum.length; i++) sum[i] ^= hash[i];
    },
    text: () => sum.toString("hex"),
  };
}

function serve(channel) {
  channels.push(channel);
  channel.binaryType = "arraybuffer";
  const [job, count] = channel.label.split(":");
  const received = digest();
  let left = Number(count);
  let turn = Promise.resolve();
  channel.onmessage = ({ data }) => {
    if (job === "echo") {
      turn = turn.then(() => room(channel)).then(() => channel.send(data));
    } else if (job === "sink") {
      received.add(Buffer.from(data));
      if (--left === 0) channel.send(received.text());
    } else {
      send(channel, left);
    }
  };
  const opened = () => say({ opened: channel.label });
  if (channel.readyState === "open") opened();
  else channel.onopen = opened;
  channel.onclose = () => say({ closed: channel.label });
}

async function send(channel, count) {
  const sent = digest();
  for (let i = 0; i < count; i++) {
    const message = randomBytes(16384);
    sent.add(message);
    await room(channel);
    channel.send(new Uint8Array(message));
  }
  channel.send(sent.text());
}

connection.onicecandidate = ({ candidate }) =>
  candidate && say({ candidate: { ...(candidate.toJSON?.() ?? candidate) } });
connection.ondatachannel = ({ channel }) => serve(channel);

const commands = {
  async create({ channels: wanted }) {
    for (const { label, ordered } of wanted) {
      serve(connection.createDataChannel(label, { ordered }));
    }
    await connection.setLocalDescription(await connection.createOffer());
    say({ description: { type: "offer", sdp: connection.localDescription.sdp } });
  },
  async description({ description }) {
    await connection.setRemoteDescription(description);
    if (description.type === "offer") {
      await connection.setLocalDescription(await connection.createAnswer());
      say({ description: { type: "answer", sdp: connection.localDescription.sdp } });
    }
  },
  async candidate({ candidate }) {
    await connection.addIceCandidate(candidate);
  },
  async quit() {
    connection.close();
    setTimeout(() => process.exit(0), 100);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  await commands[message.command](message);
}
process.exit(0);
