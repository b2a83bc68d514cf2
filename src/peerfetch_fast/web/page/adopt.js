/**
 * The shell's replacements in a window of the app: WebSockets, which a service worker
 * does not see; cookies, which browsers take from no worker; EventSources that can be told apart; and downloads,
 * which browsers ask past the worker.
 */

import { PeerWebSocket } from "../lib/websocket.js";

/** The mark of an EventSource in its URL, until the worker takes it off. */
const MARK = "~peerfetch-source=";

/** The policy that worker.js gives documents. */
const NO_PLUGINS = "object-src blob: data:";
/** Attributes of a plugin's element that its frame has. */
const CARRIED_OVER = ["class", "height", "id", "name", "style", "title", "width"];

/**
 * @param realm the window, of this origin
 * @param shell what it has there: `connect(url, protocols, {realm, constructed})`, a WebSocket; `cookies`, a
 *   CookieJar; and `save(url, name)`
 */
export function adopt(realm, { connect, cookies, save }) {
  const { document } = realm;
  adoptSockets(realm, connect);
  adoptEventSources(realm);
  adoptRequests(realm);
  adoptDownloads(realm, save);
  adoptPlugins(realm);
  Object.defineProperty(document, "cookie", {
    configurable: true,
    get: () => cookies.visible(realm.location.pathname),
    set: (text) => cookies.setByScript(`${text}`, realm.location.pathname),
  });
  // Its script would be asked of the endpoint's server, and it would take the place of ours.
  delete realm.Navigator.prototype.serviceWorker;
}

/** A property's descriptor that is that of `own` for the objects that are ours. */
function divided(native, own) {
  const of = (object) => (PeerWebSocket.owns(object) ? own : native);
  const made = { ...native };
  for (const key of ["get", "set", "value"]) {
    if (typeof native[key] === "function") {
      made[key] = function (...parameters) {
        return of(this)[key].apply(this, parameters);
      };
    }
  }
  return made;
}

/**
 * WebSockets to the app's own host go over the connection of the shell. They have the prototype of all
 * WebSockets of the window, or of a class that is derived from it, so that `instanceof` and `super` hold.
 */
function adoptSockets(realm, connect) {
  const { prototype } = realm.WebSocket;
  const open = new Set();
  for (const [name, own] of Object.entries(Object.getOwnPropertyDescriptors(PeerWebSocket.prototype))) {
    const native = Object.getOwnPropertyDescriptor(prototype, name);
    if (native?.configurable && name !== "constructor") Object.defineProperty(prototype, name, divided(native, own));
  }
  realm.WebSocket = new Proxy(realm.WebSocket, {
    construct(target, parameters, constructed) {
      const [url, protocols = []] = parameters;
      const resolved = parsed(url, realm.document.baseURI);
      if (resolved?.host !== realm.location.host || !/^(?:ws|http)s?:$/.test(resolved.protocol)) {
        return Reflect.construct(target, parameters, constructed);
      }
      resolved.protocol = resolved.protocol.replace("http", "ws");
      resolved.hash = "";
      const socket = connect(resolved, protocols, { realm, constructed });
      open.add(socket);
      socket.addEventListener("close", () => open.delete(socket));
      return socket;
    },
  });
  prototype.constructor = realm.WebSocket;
  realm.addEventListener("pagehide", () => {
    for (const socket of open) PeerWebSocket.prototype._leave.call(socket);
    open.clear();
  });
}

function parsed(url, base) {
  try {
    return new URL(url, base);
  } catch {
    return null; // as the browser's own says
  }
}

function adoptEventSources(realm) {
  const { prototype } = realm.EventSource;
  const native = Object.getOwnPropertyDescriptor(prototype, "url");
  realm.EventSource = new Proxy(realm.EventSource, {
    construct(target, [url, ...more], constructed) {
      const resolved = parsed(url, realm.document.baseURI);
      if (resolved?.origin !== realm.location.origin) return Reflect.construct(target, [url, ...more], constructed);
      resolved.hash = "";
      resolved.search += `${resolved.search ? "&" : "?"}${MARK}${realm.crypto.randomUUID()}`;
      return Reflect.construct(target, [resolved, ...more], constructed);
    },
  });
  prototype.constructor = realm.EventSource;
  Object.defineProperty(prototype, "url", {
    ...native,
    get() {
      return native.get.call(this).replace(/[?&]~peerfetch-source=.*$/, "");
    },
  });
}

/**
 * XMLHttpRequests that are synchronous: who would answer them waits itself until they are. They are sent, and
 * who has set a handler hears of the answer.
 */
function adoptRequests(realm) {
  const { prototype } = realm.XMLHttpRequest;
  const native = Object.getOwnPropertyDescriptor(prototype, "open");
  Object.defineProperty(prototype, "open", {
    ...native,
    value(...parameters) {
      const [, url, isAsync = true] = parameters;
      const isOwn = parsed(url, realm.document.baseURI)?.origin === realm.location.origin;
      if (!isAsync && isOwn) {
        realm.console.warn("peerfetch: synchronous requests cannot wait for a device; this one is asynchronous");
        parameters[2] = true;
      }
      return native.value.apply(this, parameters);
    },
  });
}

/** Have a link lead nowhere until what runs now is done. */
function withoutPlace(link) {
  const href = link.getAttribute("href");
  link.removeAttribute("href");
  queueMicrotask(() => link.setAttribute("href", href));
}

/** Links with `download`: those that are clicked, and those that scripts click on, within the document or not. */
function adoptDownloads(realm, save) {
  const onClick = (event) => {
    const link = event.composedPath().find((one) => one instanceof realm.Element && one.matches("a[download], area[download]"));
    if (!link || event.defaultPrevented) return;
    const url = parsed(link.href, realm.document.baseURI);
    if (url?.origin !== realm.location.origin || !/^https?:$/.test(url.protocol)) return;
    event.preventDefault();
    if (!event.cancelable) withoutPlace(link);
    save(url, link.download);
  };
  realm.addEventListener("click", onClick);
  // The events of what is in no document do not come to the window.
  const watched = (act) =>
    function (...parameters) {
      const isLoose = this instanceof realm.HTMLAnchorElement && !this.isConnected;
      if (isLoose) this.addEventListener("click", onClick);
      try {
        return act.apply(this, parameters);
      } finally {
        if (isLoose) this.removeEventListener("click", onClick);
      }
    };
  for (const [prototype, name] of [
    [realm.HTMLElement.prototype, "click"],
    [realm.EventTarget.prototype, "dispatchEvent"],
  ]) {
    const native = Object.getOwnPropertyDescriptor(prototype, name);
    Object.defineProperty(prototype, name, { ...native, value: watched(native.value) });
  }
}

/**
 * Of `<object>` and `<embed>`, which browsers would ask past the worker, the worker's policy has nothing asked:
 * a frame takes the place of those that show something of the app.
 */
function adoptPlugins({ document, location }) {
  document.addEventListener("securitypolicyviolation", ({ originalPolicy }) => {
    if (originalPolicy !== NO_PLUGINS) return; // the app's own
    for (const blocked of document.querySelectorAll("object[data], embed[src]")) {
      const url = parsed(blocked.getAttribute("data") ?? blocked.getAttribute("src"), document.baseURI);
      if (url?.origin !== location.origin) continue;
      const frame = document.createElement("iframe");
      for (const name of CARRIED_OVER) {
        if (blocked.hasAttribute(name)) frame.setAttribute(name, blocked.getAttribute(name));
      }
      frame.src = url;
      frame.style.border ||= "0";
      blocked.replaceWith(frame);
    }
  });
}
