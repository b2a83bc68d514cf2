/** What both connect() and listen() take. */
export interface Meeting {
  /** `wss://`, `ws://`, `https://` or `http://` URL of a PeerJS-compatible signaling server, with
   * `?key=…` if it has a key of its own; by default the one that served the page. */
  signaling?: string | URL;
  /** STUN and TURN servers; none by default. */
  iceServers?: RTCIceServer[];
}

export interface ConnectOptions extends Meeting {
  /** What both sides know; it is proved and never sent. */
  accessToken?: string | null;
  /** The fingerprint that the device's certificate must have: `sha256:` and 64 hexadecimal digits. */
  pin?: string | null;
  /** Ends connecting; without effect on a peer that is connected. */
  signal?: AbortSignal | null;
}

/**
 * Connect to a peer: `peer://ID`, `peer://ID#PIN` or an id alone. Takes 15 s at most.
 * @throws ConnectError, and the reason of `signal`
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
export class Peer extends EventTarget {
  private constructor();
  readonly id: string;
  readonly state: PeerState;
  /** Why the latest connection ended; null while there is one. */
  readonly error: Error | null;
  readonly statistics: Statistics | null;

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

export interface ListenOptions extends Meeting {
  /** The id to be reached by; by default a random one. */
  id?: string;
  /** What peers must prove that they know, before any request of theirs is read; by default nothing. */
  accessToken?: string | null;
  /**
   * A name under which this browser keeps the certificate of this side, for this origin: `fingerprint`
   * stays the same when the page is loaded again, for a year at most. By default a new one is made.
   */
  identity?: string | null;
  /**
   * Called with each peer that connects, and has proved that it knows the access token if there is one;
   * its `serve` is to be called at once.
   */
  onpeer: (peer: Peer) => void;
}

/**
 * Be reachable for other peers (at most 32 at once).
 * @throws ConnectError
 */
export function listen(options: ListenOptions): Promise<Listener>;

export interface Listener {
  readonly id: string;
  /** The fingerprint of this side's certificate, for others to pin: `sha256:` and 64 digits. */
  readonly fingerprint: string;
  /** Take no more peers; those that are connected stay. */
  close(): void;
}

/** No connection could be made; the message is a sentence for the person in front of it. */
export class ConnectError extends Error {
  readonly reason:
    | "id" // no link to a device
    | "signaling" // the signaling server cannot be reached, or was lost
    | "unavailable" // no such device is there
    | "path" // no network path was found
    | "timeout"
    | "description" // the other side sent what no browser can read
    | "protocol" // the other side sent or opened more than it may
    | "pin" // another certificate than expected
    | "access" // the access token is another one, or cannot be one
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
