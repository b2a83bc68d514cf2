export { Buffer, NetworkHub, Node, Queryable, Readable } from "smoke-node/index.js";
