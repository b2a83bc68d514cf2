/** A body that is read once. */
interface Body {
  readable(): Readable<Buffer>;
  buffer(): Promise<Buffer>;
  text(encoding?: Encoding): Promise<string>;
  json<T = any>(): Promise<T>;
}

/** What a hub passes on. */
export interface Forward<T = any> {
  type: "forward";
  from: string;
  to: string;
  data: T;
}

/** How nodes find each other: of one's own, or PageHub or NetworkHub. It passes JSON values between addresses. */
export interface Hub {
  /** Call `handler` with what other nodes send us. */
  on(event: "forward", handler: (message: Forward) => void): void;
  on(event: "error", handler: (error: Error) => void): void;
  /** Call `handler` when something was sent to an address at which nobody is, if the hub can tell. */
  on(event: "absent", handler: (absent: { address: string }) => void): void;
  /** ICE servers for this node's connections. */
  configuration(): Promise<RTCConfiguration>;
  /** This node's address, once it is known. */
  address(): Promise<string>;
  /** Pass `data` to a node; it may reject if that is not there, or have it lost. */
  forward<T>(to: string, data: T): Promise<void>;
  /** Be found by a host name: one a node. Rejects if it is another's. */
  register?(hostname: string): Promise<void>;
  /** The addresses of a host name: one or none. */
  lookup?(hostname: string): Promise<string[]>;
}

/** One that knows host names. */
interface NamingHub extends Hub {
  register(hostname: string): Promise<void>;
  lookup(hostname: string): Promise<string[]>;
}

/** A hub for the nodes of one page, and of the other tabs of its origin where the browser has Web Locks. */
export interface PageHub extends NamingHub {}
export class PageHub {
  /** @param port nodes meet if they have the same; 0 by default */
  constructor(port?: number);
  dispose(): Promise<void>;
}

/** A hub that is a server: `peerfetch signal --smoke`. It is connected to again when it is lost. */
export interface NetworkHub extends NamingHub {}
export class NetworkHub {
  /** @param endpoint `wss://HOST/smoke`. @throws TypeError for what is no URL */
  constructor(endpoint: string | URL);
  dispose(): void;
}

export interface NodeOptions {
  /** By default the page's. */
  hub?: Hub;
  /** What all nodes that meet must know; it is proved and never sent. */
  accessToken?: string | null;
  /** A name under which this browser keeps the node's certificate: its fingerprint stays the same. */
  identity?: string | null;
}

/** What a page offers to other nodes, and asks of them. */
export class Node {
  constructor(options?: NodeOptions);
  readonly hub: Hub;
  readonly network: Network;
  readonly system: System;
  readonly sockets: Sockets;
  readonly rest: Rest;
  readonly media: Media;
  /** This node's address, once its hub has said it. */
  address(): Promise<string>;
  /** End its servers and connections. The hub stays. */
  dispose(): void;
}

/** A connection to another node. */
export interface Peer {
  /** Null for one within this node. */
  connection: RTCPeerConnection | null;
  loopback: 0 | 1 | 2;
  local: string;
  remote: string;
  peer: import("./peerfetch.js").Peer;
}

/** Messages to and from a port: of RTCDataChannel's members those that are here. */
export interface Channel extends EventTarget {
  readonly label: string;
  readonly readyState: "open" | "closing" | "closed";
  readonly bufferedAmount: number;
  bufferedAmountLowThreshold: number;
  binaryType: "arraybuffer" | "blob";
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onerror: ((event: Event) => void) | null;
  onclose: ((event: Event) => void) | null;
  send(data: string | Blob | ArrayBuffer | ArrayBufferView): void;
  close(): void;
}

export class Network {
  private constructor();
  address(): Promise<string>;
  /** The connections that there are, by address. */
  getPeers(): Map<string, Peer>;
  /** Open a channel to a port. Rejects if nobody listens there. */
  connect(remote: string, port: string | number): Promise<[Peer, Channel]>;
  /** @throws PortInUseError */
  bindPort(port: string | number, callback: (event: [Peer, Channel]) => void): void;
  unbindPort(port: string | number): void;
  dispose(): void;
}

export class PortInUseError extends Error {
  readonly port: string;
}

export class System {
  private constructor();
  readonly started: Date;
  /** Milliseconds since the node was made. */
  uptime(): number;
  /** For each connection one object, with all fields of its getStats(). */
  netstat(): Promise<NetStat[]>;
}

export interface NetStat {
  local: string;
  remote: string;
  transceivers: number;
  senders: number;
  loopback: number;
  [key: string]: any;
}

/** Events of one name are kept until somebody listens; an error that nobody listens for is reported as uncaught. */
export class Events {
  on<T = any>(event: string, handler: (data: T) => void): void;
  once<T = any>(event: string, handler: (data: T) => void): void;
  remove(event: string, handler: Function): void;
  emit<T = any>(event: string, data?: T): void;
  dispose(): void;
}

/** One end of a connection to a port. A message is 4 MiB at most. */
export class Socket extends Events {
  private constructor();
  readonly local: string;
  readonly remote: string;
  /** Bytes that wait to be sent. */
  readonly bufferedAmount: number;
  on(event: "open" | "close", handler: (event: Event) => void): void;
  on(event: "message", handler: (event: { data: Buffer }) => void): void;
  on(event: "error", handler: (error: Error) => void): void;
  once(event: "open" | "close", handler: (event: Event) => void): void;
  once(event: "message", handler: (event: { data: Buffer }) => void): void;
  once(event: "error", handler: (error: Error) => void): void;
  /** A track that the other end has added. */
  on(event: "track", handler: (event: { track: MediaStreamTrack; streams: MediaStream[] }) => void): void;
  once(event: "track", handler: (event: { track: MediaStreamTrack; streams: MediaStream[] }) => void): void;
  remove(event: string, handler: Function): void;
  /** @throws Error before it is open, RangeError when 64 MiB wait to be sent */
  send(message: string | ArrayBufferView | ArrayBuffer): void;
  /**
   * Send a track of a stream until the socket is closed.
   * @throws Error before it is open, and where the other end opened it without a name for that, as nodes in Python do
   */
  addTrack(track: MediaStreamTrack, stream: MediaStream): void;
  close(): void;
}

/** A stream each way over a socket, whose pieces are sent when the other side asks for them; it has one as well. */
export class NetworkStream {
  /**
   * @param socket that is open
   * @param timeout milliseconds after which a side that is waited for, and says nothing, is given up; 8000 by default
   */
  constructor(socket: Socket, timeout?: number);
  readonly socket: Socket;
  readonly readable: Readable<Buffer>;
  readonly writable: Writable<string | Uint8Array>;
}

export class SocketServer {
  private constructor();
  /** @throws PortInUseError */
  listen(port: string | number): this;
  /** Take no more sockets; those that are open stay. */
  dispose(): void;
}

export class Sockets {
  private constructor();
  createServer(onsocket: (socket: Socket) => void): SocketServer;
  /** A socket that opens by itself. `pin` is the fingerprint that the node's certificate must have. */
  connect(remote: string, port: string | number, options?: { pin?: string | null }): Socket;
}

export interface RestRequest extends Body {}
export class RestRequest {
  private constructor();
  readonly headers: { [name: string]: string };
  /** Path and query. */
  readonly url: string;
  /** In lower case. */
  readonly method: string;
  readonly local: string;
  readonly remote: string;
  readonly path: string;
  readonly query: { [name: string]: string | string[] };
  params: { [name: string]: string };
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** One of the methods answers, once: a second one rejects with ResponseAlreadySentError. */
export class RestResponse {
  private constructor();
  headers: { [name: string]: any };
  status: number;
  send(data: string | ArrayBufferView | ArrayBuffer, status?: number): Promise<void>;
  text(data: string, status?: number): Promise<void>;
  json(data: any, status?: number): Promise<void>;
  buffer(data: ArrayBufferView | ArrayBuffer, status?: number): Promise<void>;
  readable(data: Readable<Uint8Array> | ReadableStream<Uint8Array>, status?: number): Promise<void>;
  /**
   * Send records. They are pulled as far as the stream's window reaches, or, with `prefetch: 0`, each one when
   * the receiver asks for it. Resolves when the query has ended.
   */
  query<T = any>(records: AsyncIterable<T>, options?: number | { prefetch?: 0; status?: number }): Promise<void>;
  /**
   * Send a media stream until the receiver stops its tracks, or `dispose()` is called. `closed` resolves when either
   * has, and when the receiver has not come for it within 30 seconds.
   */
  mediastream(stream: MediaStream, status?: number): Promise<{ dispose(): void; readonly closed: Promise<void> }>;
}

export class ResponseAlreadySentError extends Error {}

/** What it returns may be a Response, which is then the answer. */
export type RouteHandler = (request: RestRequest, response: RestResponse) => unknown;
export type MiddlewareFunction = (request: RestRequest, response: RestResponse, next: () => Promise<void>) => unknown;
export type Middleware = MiddlewareFunction | { handle: MiddlewareFunction };

/** Routes are tried in the order in which they were added. A pattern may hold `:name`, for letters up to `/` or `-`. */
export class Router {
  use(middleware: Middleware): this;
  get(pattern: string, handler: RouteHandler): this;
  get(pattern: string, middleware: Middleware[], handler: RouteHandler): this;
  post(pattern: string, handler: RouteHandler): this;
  post(pattern: string, middleware: Middleware[], handler: RouteHandler): this;
  put(pattern: string, handler: RouteHandler): this;
  put(pattern: string, middleware: Middleware[], handler: RouteHandler): this;
  patch(pattern: string, handler: RouteHandler): this;
  patch(pattern: string, middleware: Middleware[], handler: RouteHandler): this;
  delete(pattern: string, handler: RouteHandler): this;
  delete(pattern: string, middleware: Middleware[], handler: RouteHandler): this;
  method(verb: string, pattern: string, handler: RouteHandler): this;
  method(verb: string, pattern: string, middleware: Middleware[], handler: RouteHandler): this;
  handle(request: RestRequest, response: RestResponse, next: () => unknown): Promise<void>;
}

export class RestServer extends Router {
  private constructor();
  /** @throws PortInUseError */
  listen(port: string | number): this;
  dispose(): void;
}

export interface FetchOptions {
  method?: string;
  headers?: { [name: string]: string };
  /** An object of any other kind is sent as JSON. */
  body?: string | ArrayBuffer | ArrayBufferView | Blob | Readable<Uint8Array> | ReadableStream<Uint8Array> | object | null;
  signal?: AbortSignal | null;
  /** The fingerprint that the node's certificate must have. */
  pin?: string | null;
}

export interface FetchResponse extends Body {}
export class FetchResponse {
  private constructor();
  readonly status: number;
  readonly headers: { [name: string]: string };
  /** The records of the answer, read as they are asked for. To end the iteration ends the query over there. */
  query<T = any>(): Queryable<T>;
  /** The media stream that the answer is; stop its tracks to end it. */
  mediastream(): Promise<MediaStream>;
}

export interface RestServerOptions {
  /** Milliseconds for which nodes of smoke-node that ask for an answer may be silent; 4000 by default. */
  timeout?: number;
}

export class Rest {
  private constructor();
  createServer(options?: RestServerOptions): RestServer;
  /**
   * Ask for `rest://ADDRESS[:PORT]/path` (ADDRESS may be a host name), or a path of this node; the port is 80 if
   * none is given.
   * @throws FetchUrlError, Error if nobody listens there, TypeError as fetch does, and the reason of `signal`
   */
  fetch(url: string, options?: FetchOptions): Promise<FetchResponse>;
}

export class FetchUrlError extends Error {}

export interface Media {
  /** A moving picture, 1024 by 768 and 30 a second, until its tracks are stopped. */
  createTestPattern(): MediaStream;
  createMediaSource(readable: Readable<Uint8Array>, codec: "mp4" | "webm"): MediaSource;
}

/** What a Database holds. */
export interface Record {
  key: string;
}

export class KeyRequiredError extends Error {}

/** Records in IndexedDB. Changes are staged, and carried out all or none by commit(). */
export class Database {
  constructor(name: string);
  static drop(name: string): Promise<void>;
  name(): Promise<string>;
  version(): Promise<number>;
  stores(): Promise<string[]>;
  count(store: string): Promise<number>;
  exists(store: string, key: string): Promise<boolean>;
  get<T extends Record>(store: string, key: string): Promise<T | undefined>;
  /** @throws KeyRequiredError */
  insert<T extends Record>(store: string, record: T): void;
  /** Without effect if there is no record of that key. @throws KeyRequiredError */
  update<T extends Record>(store: string, record: T): void;
  /** @throws KeyRequiredError */
  delete<T extends Record>(store: string, recordOrKey: T | string): void;
  /** Insertions, then updates, then deletions. Rejects where a key is there already; nothing is staged any more. */
  commit(): Promise<void>;
  /** The records in the order of their keys, read as they are asked for. */
  query<T extends Record>(store: string): Queryable<T>;
  readable<T extends Record>(store: string): Readable<T>;
  drop(store: string): Promise<void>;
  /** A new key. */
  key(): string;
  dispose(): Promise<void>;
}

/** A sequence that is read once, no further than it is asked for. */
export class Queryable<T = any> implements AsyncIterable<T> {
  constructor(source: AsyncIterable<T> | Iterable<T>);
  [Symbol.asyncIterator](): AsyncIterator<T>;
  concat(other: AsyncIterable<T>): Queryable<T>;
  distinct<K>(key?: (value: T) => K): Queryable<T>;
  orderBy<K>(key: (value: T) => K): Queryable<T>;
  orderByDescending<K>(key: (value: T) => K): Queryable<T>;
  reverse(): Queryable<T>;
  select<U>(project: (value: T, index: number) => U): Queryable<U>;
  selectMany<U>(project: (value: T, index: number) => Iterable<U>): Queryable<U>;
  skip(count: number): Queryable<T>;
  take(count: number): Queryable<T>;
  where(matches: (value: T, index: number) => boolean): Queryable<T>;
  aggregate<U>(func: (result: U, value: T, index: number) => U, initial?: U): Promise<U>;
  all(matches: (value: T, index: number) => boolean): Promise<boolean>;
  any(matches?: (value: T, index: number) => boolean): Promise<boolean>;
  average(number: (value: T, index: number) => number): Promise<number>;
  count(): Promise<number>;
  elementAt(index: number): Promise<T | undefined>;
  first(): Promise<T | undefined>;
  last(): Promise<T | undefined>;
  sum(number: (value: T, index: number) => number): Promise<number>;
  toArray(): Promise<T[]>;
}

/** What is read by parts. */
export class Readable<T = any> implements AsyncIterable<T> {
  constructor(source: UnderlyingDefaultSource<T> | ReadableStream<T>);
  [Symbol.asyncIterator](): AsyncIterator<T>;
  read(): Promise<ReadableStreamReadResult<T>>;
  cancel(reason?: any): Promise<void>;
  pipe(writable: { write(value: T): unknown; close(): unknown; abort?(error: any): unknown }): Promise<void>;
}

export type Encoding =
  | "hex"
  | "utf8"
  | "utf-8"
  | "ascii"
  | "latin1"
  | "binary"
  | "base64"
  | "ucs2"
  | "ucs-2"
  | "utf16le"
  | "utf-16le";

/** Bytes, with those of the methods of Node's Buffer that are here. */
export class Buffer extends Uint8Array {
  static from(data: string, encoding?: Encoding): Buffer;
  static from(data: ArrayBuffer, offset?: number, length?: number): Buffer;
  static from(data: ArrayBufferView | ArrayLike<number> | Iterable<number>): Buffer;
  static alloc(size: number): Buffer;
  static concat(list: Uint8Array[], length?: number): Buffer;
  static isBuffer(value: unknown): value is Buffer;
  static byteLength(data: string | ArrayBuffer | ArrayBufferView, encoding?: Encoding): number;
  toString(encoding?: Encoding, start?: number, end?: number): string;
  equals(other: Uint8Array): boolean;
  toJSON(): { type: "Buffer"; data: number[] };
}

/** What is written to by parts, each when the one before is done. */
export class Writable<T = any> {
  constructor(sink: {
    start?(controller: {}): unknown;
    write?(value: T, controller: {}): unknown;
    close?(): unknown;
    abort?(error: any): unknown;
  });
  /** Rejects with what the sink threw, now or before. */
  write(value: T): Promise<void>;
  abort(error?: any): Promise<void>;
  close(): Promise<void>;
}

/** The parts of a URL of any scheme; those that it has not are null. */
export interface UrlObject {
  auth: string | null;
  hash: string | null;
  host: string | null;
  /** With the port. */
  hostname: string | null;
  href: string;
  /** With the query and the hash. */
  path: string;
  pathname: string;
  port: string | null;
  protocol: string | null;
  query: string;
  search: string;
}

export class Url {
  static parse(href: string): UrlObject;
}

export class QueryString {
  /** The names and values in a URL's query: a list for a name with several values. */
  static parse(url: string): { [name: string]: string | string[] };
}

export interface PathObject {
  root: string;
  dir: string;
  base: string;
  ext: string;
  name: string;
}

/** Paths with slashes, as Node's `path.posix` has them. */
export class Path {
  static sep: string;
  static delimiter: string;
  /** What relative paths are resolved from. */
  static cwd: string;
  static basename(path: string, extension?: string): string;
  static dirname(path: string): string;
  static extname(path: string): string;
  static format(path: Partial<PathObject>): string;
  static isAbsolute(path: string): boolean;
  static join(...paths: string[]): string;
  static normalize(path: string): string;
  static parse(path: string): PathObject;
  static relative(from: string, to: string): string;
  static resolve(...paths: string[]): string;
}

/** Work that waits until `resume()`, and after `pause()` again. It is paused at first. */
export class Barrier {
  pause(): void;
  resume(): void;
  run<T>(work: () => T | PromiseLike<T>): Promise<T>;
}

/** So many works at once, one by default, in the order of the calls. */
export class Semaphore {
  constructor(concurrency?: number);
  run<T>(work: () => T | PromiseLike<T>): Promise<T>;
}
