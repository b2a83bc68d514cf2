/**
 * Nodes: pages as hosts of network services, with the names of the Smoke framework. Types: smoke.d.ts.
 *
 *     import { Node } from "./smoke.js";
 *     const node = new Node();
 *     node.rest.createServer().get("/", (request, response) => response.send("hello world")).listen(80);
 *     const text = await node.rest.fetch("/").then((response) => response.text());
 */

export { Buffer } from "./lib/smoke/buffer.js";
export { Database, KeyRequiredError } from "./lib/smoke/database.js";
export { Events } from "./lib/smoke/events.js";
export { NetworkHub } from "./lib/smoke/network_hub.js";
export { NetworkStream } from "./lib/smoke/network_stream.js";
export { Network, PortInUseError } from "./lib/smoke/network.js";
export { Node } from "./lib/smoke/node.js";
export { PageHub } from "./lib/smoke/page_hub.js";
export { Path } from "./lib/smoke/path.js";
export { Queryable } from "./lib/smoke/queryable.js";
export { Readable } from "./lib/smoke/readable.js";
export { FetchResponse, FetchUrlError, Rest } from "./lib/smoke/rest.js";
export { ResponseAlreadySentError, RestRequest, RestResponse, RestServer } from "./lib/smoke/rest_server.js";
export { Router } from "./lib/smoke/router.js";
export { Socket, SocketServer, Sockets } from "./lib/smoke/sockets.js";
export { System } from "./lib/smoke/system.js";
export { QueryString, Url } from "./lib/smoke/url.js";
export { Barrier, Semaphore } from "./lib/smoke/waiting.js";
export { Writable } from "./lib/smoke/writable.js";
