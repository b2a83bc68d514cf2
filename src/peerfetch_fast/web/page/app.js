/**
 * The shell of a device's own page: under an origin that belongs to the device, it holds the connection
 * and shows the device's page in a frame, whose requests the service worker brings here.
 */

import { CookieJar } from "../lib/cookies.js";
import { peerOrigin, seenField } from "../lib/origins.js";
import { connect } from "../peerfetch.js";
import { Space } from "../lib/space.js";
import { decoded } from "./format.js";

const $ = (id) => document.getElementById(id);
/** Where the link and the access token are kept; nobody but the device shares this origin. */
const KEPT = "~peerfetch";
const COOKIES = "~peerfetch cookies";
/** The lock that every tab of the device holds. */
const TAB = "~peerfetch tab";

const OTHER_PIN =
  "This link names another certificate than the one that this browser knows the device by. If the device " +
  "was set up anew, clear this site's data in the browser, and follow the link again.";

// The device is who the origin is named after, so that no link can bring another one into it.
const id = /^(?:([a-z0-9-]+)\.localhost|peer-([a-z0-9-]+)\..+)$/
  .exec(location.hostname)
  ?.slice(1)
  .find(Boolean);

function say(text) {
  $("state").textContent = text ?? "";
  $("state").hidden = !text;
}

function remembered() {
  const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  const [named, pin] = decoded(location.hash.slice(1)).split("#");
  if (named === id) history.replaceState(null, "", location.pathname + location.search);
  if (named === id && pin) {
    // Whoever takes the device's id at the signaling server could send such a link, and would get all
    // that this origin holds.
    if (kept.pin && kept.pin !== pin) throw new Error(OTHER_PIN);
    kept.pin = pin;
  }
  return kept;
}

async function worker() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) {
    throw new Error("This browser shows a device's own page only by HTTPS or on localhost.");
  }
  await serviceWorker.register(`/~peerfetch/worker.js?app=${id}`, { scope: "/" });
  await serviceWorker.ready;
  return serviceWorker;
}

/** The device's cookies. Those of a session end with the last tab, but not when that is loaded again. */
async function openCookies() {
  const cookies = new CookieJar(localStorage, COOKIES);
  const isAlone = await navigator.locks.request(TAB, { ifAvailable: true }, (lock) => lock !== null);
  if (isAlone && !sessionStorage.getItem(KEPT)) cookies.endSession();
  sessionStorage.setItem(KEPT, "this tab was here");
  navigator.locks.request(TAB, { mode: "shared" }, () => new Promise(() => {}));
  return cookies;
}

/** What the shim in the frame may ask for. */
function forShim(peer, cookies) {
  return {
    websocket(url, protocols = []) {
      const cookie = cookies.header(url.pathname);
      // Frames of other origins have no shim: who asks is the app.
      const headers = [["origin", peerOrigin(id)], seenField(location)];
      if (cookie) headers.push(["cookie", cookie]);
      return peer._websocket(url.pathname + url.search, protocols, headers);
    },
    cookies: (path) => cookies.visible(path),
    setCookie: (text, path) => cookies.setByScript(text, path),
  };
}

let cookies = null;

async function start(accessToken) {
  $("access").hidden = true;
  say("Connecting …");
  let peer;
  let kept;
  try {
    kept = remembered();
    if (accessToken) kept.accessToken = accessToken;
    if (!id) throw new Error("This host name is no device's.");
    const serviceWorker = await worker();
    cookies ??= await openCookies();
    const space = new Space(serviceWorker, cookies);
    peer = await connect(id, kept);
    const first = await peer.fetch("/", { method: "HEAD" });
    // Not the 401 of an app that has a login of its own.
    if (first.status === 401 && first.headers.get("www-authenticate") === "Peerfetch") {
      await peer.close();
      throw Object.assign(new Error("The device asks for its access token."), { reason: "access" });
    }
    space.add(peer);
  } catch (error) {
    $("access").hidden = error.reason !== "access";
    return say(error.message);
  }
  localStorage.setItem(KEPT, JSON.stringify(kept));
  globalThis.peerfetch = forShim(peer, cookies);
  peer.addEventListener("statechange", () => {
    const lost = peer.state !== "connected";
    say(lost ? "The connection is lost; trying again …" : null);
  });
  const frame = $("app");
  frame.addEventListener("load", () => follow(frame));
  frame.src = location.pathname + location.search + location.hash;
  frame.hidden = false;
  $("title").hidden = true;
  say(null);
}

/** Let address and title be those of the page in the frame. */
function follow(frame) {
  const { location: inner, document: shown } = frame.contentWindow;
  history.replaceState(null, "", inner.pathname + inner.search + inner.hash);
  document.title = shown.title || id;
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  start($("token").value);
});
start(null);
