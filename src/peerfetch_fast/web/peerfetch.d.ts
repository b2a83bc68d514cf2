/** A message of a negotiation, on its way through a signaling service. */
export type Signal = { /** The receiver of one that is sent, the sender of one that came. */ peer: string } & (
  | {
      /** Begin a connection; with `restart`, give one another path. */
      type: "offer";
      connectionId: string;
      sdp: string;
      /** The protocol of the channel: `peerfetch.2`; none with a peer that does not name it. */
      protocol: string | null;
      /** The label of the channel that is offered; none with `restart`. */
      label?: string | null;
      restart?: boolean;
    }
  | { type: "answer"; connectionId: string; /** Null for one that cannot be used. */ sdp: string | null; protocol: string | null }
  | { type: "candidate"; connectionId: string; /** {} for their end. */ candidate: RTCIceCandidateInit }
  /** The connection to be restarted is not known any more. */
  | { type: "gone"; connectionId: string }
  /** The peer has taken leave; or nobody came to fetch what was sent to it. */
  | { type: "left" | "absent" }
);

/** What a negotiation needs of a signaling service. */
export interface Signaling {
  /** The id by which others reach us; final once `open` has resolved. */
  readonly id: string;
  /** STUN and TURN servers that the service hands out; known once `open` has resolved. */
  readonly iceServers: RTCIceServer[];
  /**
   * Connect to the service, anew if the connection may be dead.
   * @throws ConnectError, and the reason of `signal`
   */
  open(signal?: AbortSignal | null): Promise<void>;
  /** Pass `signal` to the peer that it names; what is sent while the service is not open is lost. */
  send(signal: Signal): void;
  /**
   * The ids of the others who are there and want to be found.
   * @throws ConnectError
   */
  peers(): Promise<string[]>;
  /** Take leave of the service, until `open` is called again. */
  close(): void;
  /** Called with what others send. */
  onsignal: (signal: Signal) => void;
  /** Called when the service is lost, but not after `close`. */
  onclose: () => void;
}

/** A signaling service of one's own. */
export interface SignalingService {
  /** Our signaling by `id`, not open yet; with null, the service gives an id. */
  join(id: string | null): Signaling;
}

/** What both connect() and serve() take. */
export interface Meeting {
  /**
   * How peers find each other: the URL of a PeerJS-compatible server (`wss://`, `ws://`, `https://` or
   * `http://`, with `?key=…` if it has a key of its own), `local:NAME` for peers within one page, or a
   * service of one's own; by default the server that served the page.
   */
  signaling?: string | URL | SignalingService;
  /** STUN and TURN servers, beside those that the signaling server names; none by default. */
  iceServers?: RTCIceServer[];
  /**
   * Connect without a relay, ours or the other side's, or not at all: where no direct way is found, that fails with
   * the reason "path", and a connection that could go on only through a relay ends. False by default.
   */
  directOnly?: boolean;
}

/** The way that a connection takes. */
export interface Way {
  way: "direct" | "relayed";
  /** The URL of our relay, as in `turns:meet.example.org:443`; null for none, or where the browser does not tell. */
  relay: string | null;
  /** The address that is sent to: the other side's, its router's or a relay's. */
  address: string | null;
  /** Why it is no better way, in words; null where there is none. */
  why: string | null;
}

export interface ConnectOptions extends Meeting {
  /** What both sides know; it is proved and never sent. */
  accessToken?: string | null;
  /** The fingerprint that the device's certificate must have: `sha256:` and 64 hexadecimal digits. */
  pin?: string | null;
  /**
   * The name under which this browser keeps the certificate by which the device knows it, if the device has let it
   * in by name (`pair`); by default each connection has one of its own.
   */
  identity?: string | null;
  /** Ends connecting; without effect on a peer that is connected. */
  signal?: AbortSignal | null;
  /**
   * The class to make connections with, where the browser has none (in Node): that of `node-datachannel/polyfill`
   * or `werift`, say.
   */
  RTCPeerConnection?: PeerConnectionClass;
}

/** What is needed of a class RTCPeerConnection; those of packages differ in details that are not. */
export type PeerConnectionClass = new (configuration?: { iceServers?: any[] }) => {
  createDataChannel(label: string, options?: { ordered?: boolean; protocol?: string }): unknown;
  close(): unknown;
};

export interface PairOptions extends Meeting {
  /** As for connect(): from now on the device lets this certificate in. */
  identity?: string | null;
  /**
   * The id of a device that waits in the room (`peerfetch invite --wait`): `code` are then the six digits that it
   * shows once somebody has connected.
   */
  at?: string | null;
  /** Ends pairing. */
  signal?: AbortSignal | null;
  RTCPeerConnection?: PeerConnectionClass;
}

/**
 * Pair with the device that shows a code (`peerfetch invite`), such as `123-able-boat`: its id and its pin, with which
 * it can be connected to from now on. Of a code of `peerfetch share`, also the access token of what is shared. Takes
 * 15 s at most.
 * @throws ConnectError: `code` for what is none, `access` for a wrong one; and the reason of `signal`
 */
export function pair(code: string, options?: PairOptions): Promise<{ id: string; pin: string; token?: string }>;

/**
 * Connect to a peer: `peer://ID`, `peer://ID#PIN` or an id alone. Takes 15 s at most.
 * @throws ConnectError, TypeError where there is no RTCPeerConnection, and the reason of `signal`
 */
export function connect(peer: string, options?: ConnectOptions): Promise<Peer>;

/** "reconnecting" is also to wait for a peer of whom nothing is heard: what runs with it may yet go on. */
export type PeerState = "connecting" | "connected" | "reconnecting" | "closed";

export interface Statistics {
  /** Bytes of stream data since the connection was made. */
  bytesSent: number;
  bytesReceived: number;
  /** Bytes per second since about the last call. */
  sendRate: number;
  receiveRate: number;
  /** Seconds that the latest PING took, or null before the first; reading this has it measured again. */
  roundTrip: number | null;
  openStreams: number;
}

/**
 * The other side. When a network changes, the connection goes on over another path with all that runs on it;
 * one that is lost is made again. `statechange` tells.
 */
/** A connection for media: it ends with the session in which it was asked for. */
export interface LiveMedia {
  connection: RTCPeerConnection;
  /** What the other side says of it: `pictures` is "key" where the network carries no more than key frames. */
  told(): Promise<{ state: string; pictures?: "all" | "key" }>;
  /** Resolves once it carries nothing any more. */
  closed: Promise<void>;
  /** Resolves once the other side has let go of it, or is gone itself. */
  close(): Promise<void>;
}

/** An answer of a camera, or of a `mediaHandler`: one whose header fields have `peerfetch-media`. */
export interface MediaResponse extends Response {
  /**
   * Its stream, by WebRTC. When the connection ends, as where a network changes, another is made and the stream's
   * tracks are exchanged for that one's, which a `<video>` follows; it ends when all tracks are stopped, or the peer
   * is closed.
   * @throws Error as `Peer.media`
   */
  mediaStream(): Promise<MediaStream>;
}

/** A handler for `serve` that shows a stream of this page, to who asks for `peer.media(path)`. */
export function mediaHandler(
  stream: MediaStream,
  options?: { iceServers?: RTCIceServer[] },
): (request: Request) => Promise<Response>;

export class Peer extends EventTarget {
  private constructor();
  readonly id: string;
  readonly state: PeerState;
  /** Why the latest connection ended; null while there is one. */
  readonly error: ConnectError | SessionError | null;
  /** Of its certificate, as a pin; null before the first connection. */
  readonly fingerprint: string | null;
  readonly statistics: Statistics | null;

  /** The way that the connection takes now; null while there is none, and where the browser does not tell. */
  way(): Promise<Way | null>;

  /**
   * As window.fetch, with a path or a `peer://` URL of this peer. While reconnecting it waits, 15 s at
   * most. When the connection breaks before the answer has begun, a GET, HEAD, OPTIONS, PUT or DELETE is
   * sent once more, unless its body is a stream. With `redirect: "manual"` the redirect itself is the answer; cookies, cache, mode and
   * credentials have no meaning here. `priority` is "high", "low" or "auto"; a `priority` header
   * (RFC 9218) says more.
   *
   * A device that runs an old proxy is asked for absolute URLs behind a slash,
   * `/http://localhost:8778/api`, by GET, PUT and POST.
   * @throws TypeError where window.fetch would, and the reason of `signal`
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

  /** As `new WebSocket(url, protocols)`; it is not taken up again on another connection. */
  websocket(url: string | URL, protocols?: string | string[]): WebSocket;

  /**
   * A raw stream to the TCP port that the other side serves under `name` (`peerfetch proxy --tcp`). Each
   * direction ends by itself; one that is cancelled or aborted breaks off both.
   */
  tunnel(name: string): Promise<{
    readable: ReadableStream<Uint8Array>;
    writable: WritableStream<Uint8Array>;
  }>;

  /**
   * Watch the camera that the other side serves at `path`, by WebRTC. It ends with the session: watch again then, or
   * take the `mediaStream()` of a MediaResponse. With `talk` sound may be sent, by `microphone.replaceTrack`.
   * @throws Error with a sentence where there is none, or no connection comes about
   */
  media(path: string, options?: { talk?: boolean }): Promise<LiveMedia & { stream: MediaStream; microphone: RTCRtpSender }>;

  /** Publish a stream at `path`, as to `peerfetch proxy --camera /path=publish:`. Throws as `media`. */
  publish(path: string, stream: MediaStream): Promise<LiveMedia>;

  /** Answer the requests of the other side, from now on and on every later connection. */
  serve(handler: (request: Request) => Response | Promise<Response>): void;

  /** End in order: requests that run go on to their end, new ones fail. */
  close(): Promise<void>;

  addEventListener(
    type: "statechange",
    listener: ((this: Peer, event: Event) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export interface ServeOptions extends Meeting {
  /** The id to be reached by; by default one that the service gives, or a random one. */
  id?: string | null;
  /** What peers must prove that they know, before any request of theirs is read; by default nothing. */
  accessToken?: string | null;
  /**
   * A name under which this browser keeps the certificate of this side, for this origin: `fingerprint`
   * stays the same when the page is loaded again, for a year at most. By default a new one is made.
   */
  identity?: string | null;
  /**
   * Called with each peer that connects, and has proved that it knows the access token if there is one.
   * Its requests come after that, so that it may be given a `serve` of its own.
   */
  onpeer?: ((peer: Peer) => void) | null;
  /** Peers connected at once, 32 by default; further ones are not answered. */
  maxPeers?: number;
}

/**
 * Answer the requests of whoever connects.
 * @param handler null where `onpeer` says for each peer who answers it
 * @throws ConnectError
 */
export function serve(
  handler: ((request: Request, peer: Peer) => Response | Promise<Response>) | null,
  options?: ServeOptions,
): Promise<Server>;

export interface Server {
  readonly id: string;
  /** The fingerprint of this side's certificate, for others to pin: `sha256:` and 64 digits. */
  readonly fingerprint: string;
  /** Take no more peers; those that are connected stay. */
  close(): void;
}

/** The base of all errors of this module. */
export class PeerfetchError extends Error {}

/** A connection has ended: the `cause` of a TypeError of `fetch`, and `Peer.error`. */
export class SessionError extends PeerfetchError {
  /** Of docs/protocol.md, section 6. */
  readonly code: number;
}

/** No connection could be made; the message is a sentence for the person in front of it. */
export class ConnectError extends PeerfetchError {
  /** With the reason "pin": of the certificate that the device has shown. */
  readonly fingerprint?: string;
  readonly reason:
    | "id" // no link to a device
    | "signaling" // the signaling server cannot be reached, or was lost
    | "taken" // another has that id at the signaling server
    | "unavailable" // no such device is there
    | "path" // no network path was found
    | "timeout"
    | "description" // the other side sent what no browser can read
    | "protocol" // the other side sent or opened more than it may
    | "pin" // another certificate than expected
    | "access" // the access token is another one, or cannot be one
    | "code" // what was typed is no code
    | "identity" // this browser keeps no certificate
    | "closed";
}

/** What the methods of PeerFetch give. */
export interface OldResponse {
  header: { status: number; "content-type": string | null; "content-length": number };
  /** The body; undefined with status 204. */
  content: ArrayBuffer | undefined;
  receivedAll: true;
}

export interface OldRequest {
  /** A path, or an absolute URL, of which path and query count. */
  url?: string;
  method?: string;
  params?: Map<string, unknown> | Record<string, unknown>;
  json?: unknown;
  /** Text or bytes, or an object of plain values, which is sent as a form. */
  data?: unknown;
}

/**
 * The class of the package `peerfetch` that was there before, for pages written for it: they change the
 * import. Requests run at once, and bodies may have any size. New pages use `connect`.
 */
export class PeerFetch {
  /** As PeerJS's options; without a `host`, the server of the page. */
  constructor(config?: {
    host?: string;
    port?: number;
    path?: string;
    key?: string;
    secure?: boolean;
    config?: RTCConfiguration;
  });
  connect(remotePeerID: string): Promise<void>;
  disconnect(): Promise<void>;
  request(request: OldRequest): Promise<OldResponse>;
  get(url?: string, config?: OldRequest): Promise<OldResponse>;
  put(url: string, data?: unknown, config?: OldRequest): Promise<OldResponse>;
  post(url: string, data?: unknown, config?: OldRequest): Promise<OldResponse>;
  fetch(input?: string, init?: OldRequest): Promise<OldResponse>;
  textDecode(data: ArrayBuffer): string;
  /** The JSON in a body; {} for none. */
  jsonify(data: ArrayBuffer | string | undefined): unknown;
}
