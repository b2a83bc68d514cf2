// Never run: the types of all that is exported, and the classes of packages for Node, as programs use them.
import { RTCPeerConnection as Polyfilled } from "node-datachannel/polyfill";
import * as peerfetch from "peerfetch-fast";
import type { ConnectOptions, PeerState, SignalingService, Statistics } from "peerfetch-fast";
import { Database, NetworkHub, Node, PageHub, Queryable, type Hub, type Record } from "peerfetch-fast/smoke";
import { RTCPeerConnection as Werift } from "werift";

export async function client(own: SignalingService): Promise<void> {
  const options: ConnectOptions = {
    signaling: new URL("wss://signaling.example"),
    iceServers: [{ urls: "stun:stun.example" }],
    accessToken: "what both know",
    pin: null,
    signal: AbortSignal.timeout(1000),
  };
  const peer = await peerfetch.connect("peer://garage", options);
  await peerfetch.connect("garage", { signaling: own, RTCPeerConnection: Polyfilled });
  await peerfetch.connect("garage", { signaling: "local:here", RTCPeerConnection: Werift });
  peer.addEventListener("statechange", function () {
    const state: PeerState = this.state;
    console.log(state);
  });
  const statistics: Statistics | null = peer.statistics;
  const trip: number | null | undefined = statistics?.roundTrip;
  const answer: Response = await peer.fetch("/", { method: "PUT", body: "text", priority: "low" });
  const socket: WebSocket = peer.websocket("/live", ["one", "two"]);
  const { readable, writable } = await peer.tunnel("ssh");
  await readable.pipeTo(writable);
  peer.serve(async (request) => new Response(await request.text()));
  console.log(trip, answer.ok, socket.readyState);
  await peer.close();
}

export async function device(): Promise<void> {
  const listener = await peerfetch.serve(() => new Response("hello"), { id: "printer", identity: "printer" });
  const fingerprint: string = listener.fingerprint;
  console.log(fingerprint, listener.id);
  listener.close();
}

export const errors: (new (...all: never[]) => Error)[] = [
  peerfetch.PeerfetchError,
  peerfetch.ConnectError,
  peerfetch.SessionError,
];

interface User extends Record {
  name: string;
}

export async function nodes(own: Hub): Promise<void> {
  const hubs: Hub[] = [new PageHub(), new NetworkHub("wss://signaling.example/smoke"), own];
  const node = new Node({ hub: hubs[0], accessToken: "what all know" });
  const database = new Database("users");
  database.insert<User>("users", { key: database.key(), name: "alice" });
  const app = node.rest.createServer();
  app.get("/users/:id", [(_, __, next) => next()], async (request, response) => {
    response.headers["x-id"] = request.params.id;
    await response.query(database.query<User>("users"), { prefetch: 0 });
  });
  app.listen(80);
  const found: Queryable<User> = await node.rest.fetch("/users/1").then((answer) => answer.query<User>());
  for await (const name of found.where((user) => user.name !== "").select((user) => user.name)) name.trim();
  node.sockets.createServer((socket) => socket.on("message", ({ data }) => socket.send(data.toString("hex")))).listen(7);
  const [peer, channel] = await node.network.connect("localhost", 7);
  channel.onmessage = ({ data }) => console.log(data, peer.connection?.connectionState);
  // @ts-expect-error: a record has a key
  database.insert("users", { name: "bob" });
}

// @ts-expect-error: a peer is text
void peerfetch.connect(7);
