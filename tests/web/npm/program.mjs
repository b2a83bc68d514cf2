// A program in Node: asks a device, is asked by it, and speaks WebSocket with it, over the WebRTC that is named.
import { connect } from "peerfetch-fast";

const [, , stack, url, signaling] = process.argv;
const { RTCPeerConnection } = await import(stack);
// On a busy machine node-datachannel 0.33 throws once in some hundred times as it takes an answer ("Got a remote
// candidate without ICE transport"): an attempt of which that came is made again.
async function connected(attempts) {
  try {
    return await connect(url, { signaling, RTCPeerConnection });
  } catch (error) {
    if (error.reason !== "description" || attempts === 1) throw error;
    return connected(attempts - 1);
  }
}
const peer = await connected(5);
peer.serve(async (request) => {
  const path = new URL(request.url).pathname;
  return new Response(`${request.method} ${path} ${await request.text()}`, { status: 201 });
});

const text = await (await peer.fetch("/echo", { method: "POST", body: "from Node" })).text();
const large = new Uint8Array(await (await peer.fetch("/large")).arrayBuffer());
const asked = await (await peer.fetch("/ask-me")).text();

const socket = peer.websocket("/socket");
socket.binaryType = "arraybuffer";
const heard = [];
const closed = await new Promise((resolve) => {
  socket.onopen = () => socket.send("text");
  socket.onmessage = ({ data }) => {
    heard.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
    if (heard.length === 1) socket.send(new Uint8Array([1, 2, 3]));
    else socket.close(4000, "enough");
  };
  socket.onclose = ({ code, reason }) => resolve([code, reason]);
});
await peer.close();
const sum = large.reduce((total, byte) => total + byte, 0);
console.log(JSON.stringify({ text, size: large.length, sum, asked, heard, closed, state: peer.state }));
process.exit(0);
