/**
 * The shell of a device's own page: under an origin that belongs to the device, it holds the connection
 * and shows the device's page in a frame, whose requests the service worker brings here.
 */

import { adopt } from "./adopt.js";
import { CookieJar } from "../lib/cookies.js";
import { peerOrigin, seenField } from "../lib/origins.js";
import { connect, pair } from "../peerfetch.js";
import { Space } from "../lib/space.js";
import { Logins } from "../lib/logins.js";
import { $ } from "./elements.js";
import { decoded } from "./format.js";
import { ownIdentity } from "./identity.js";
import { askForLogin } from "./login.js";
import { WRONG } from "./questions.js";

/** Where the link and the access token are kept; nobody but the device shares this origin. */
const KEPT = "~peerfetch";
const COOKIES = "~peerfetch cookies";
/** Milliseconds for which something is said. */
const SAID_FOR = 8000;
/** The lock that every tab of the device holds. */
const TAB = "~peerfetch tab";

const WANTED = "This device asks for its access token. Whoever set it up can tell it to you.";
const OTHER_PIN =
  "This link names another certificate than the one that this browser knows the device by. If the device " +
  "was set up anew, clear this site's data in the browser, and follow the link again.";

// The device is who the origin is named after, so that no link can bring another one into it.
const id = /^(?:([a-z0-9-]+)\.localhost|peer-([a-z0-9-]+)\..+)$/
  .exec(location.hostname)
  ?.slice(1)
  .find(Boolean);

/**
 * Show how things are: nothing where the app is shown and all is well.
 * @param state as the page has them: "connecting", "closed" for what does not go on by itself; "wrong", ""
 */
function say(text, state = "") {
  $("state").textContent = text ?? "";
  $("state").dataset.state = state;
  $("retry").hidden = state !== "closed";
  $("card").hidden = !text;
}

/** The kept identity of the device, with that of the address: `{pin, accessToken, directOnly}`. */
function remembered() {
  const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  const [first, pin, ...token] = decoded(location.hash.slice(1)).split("#");
  const [, way, code, named] = /^(?:(direct|any)!)?(?:(\d+-\w+-\w+)!)?(.*)$/s.exec(first);
  if (named !== id) return kept;
  history.replaceState(null, "", location.pathname + location.search);
  if (pin) {
    // Whoever takes the device's id at the signaling server could send such a link, and would get all
    // that this origin holds.
    if (kept.pin && kept.pin !== pin) throw new Error(OTHER_PIN);
    kept.pin = pin;
  }
  if (way) kept.directOnly = way === "direct";
  if (code) introduction = code;
  if (token.length > 0) handed = token.join("#");
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

/** The device's cookies. Session cookies end with the last tab, but not when that is loaded again. */
async function openCookies() {
  const cookies = new CookieJar(localStorage, COOKIES);
  const isAlone = await navigator.locks.request(TAB, { ifAvailable: true }, (lock) => lock !== null);
  if (isAlone && !sessionStorage.getItem(KEPT)) cookies.endSession();
  sessionStorage.setItem(KEPT, "this tab was here");
  navigator.locks.request(TAB, { mode: "shared" }, () => new Promise(() => {}));
  return cookies;
}

/** The functions that the shim in the frame calls. */
function forShim(peer, cookies) {
  function connectSocket(url, protocols, made) {
    const cookie = cookies.header(url.pathname);
    // Frames of other origins have no shim: who asks is the app.
    const headers = [["origin", peerOrigin(id)], seenField(location)];
    if (cookie) headers.push(["cookie", cookie]);
    const authorization = logins.authorization("GET", url.pathname + url.search);
    if (authorization) headers.push(["authorization", authorization]);
    return peer._websocket(url.pathname + url.search, protocols, headers, { ...made, shown: url.href });
  }
  return { adopt: (realm) => adopt(realm, { connect: connectSocket, cookies, save }) };
}

/** Have what the device has at `url` saved: a navigation that ends in a download leaves a frame as it is. */
function save(url, name) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.src = `/~peerfetch/save?${new URLSearchParams({ target: url.pathname + url.search, name })}`;
  // Only what cannot be saved is shown.
  frame.addEventListener("load", () => {
    const said = frame.contentDocument?.body?.innerText.trim();
    frame.remove();
    if (said) sayFor(said, SAID_FOR);
  });
  document.body.append(frame);
}

/** Say something for a while. */
function sayFor(text, milliseconds) {
  say(text);
  setTimeout(() => $("state").textContent === text && say(null), milliseconds);
}

let cookies = null;
let space = null;
/** The code with which the page that led here introduces this origin to the device. */
let introduction = null;
/** The access token that was entered in the page that led here. */
let handed = null;
/** The logins that the person has given for the device's server, kept as long as this page. */
const logins = new Logins(askForLogin);

function openSpace(serviceWorker) {
  const opened = new Space(serviceWorker, cookies, logins);
  // A tab that was opened for a file has nothing to show.
  opened.addEventListener("attachment", () => {
    if ($("app").contentDocument?.URL === "about:blank") say("The file is being saved. This tab can be closed.");
  });
  return opened;
}

/** A peer that lets us in by what was entered here, else by what is kept, else by what was handed over. */
async function reach(kept, entered) {
  const tokens = entered ? [entered] : [...new Set([kept.accessToken, handed])].filter(Boolean);
  for (let tried = 0; ; tried += 1) {
    try {
      const peer = await admitted({ ...kept, accessToken: tokens[tried] });
      kept.accessToken = tokens[tried];
      return peer;
    } catch (error) {
      if (error.reason !== "access" || tried + 1 >= tokens.length) throw error;
    }
  }
}

/** Have the device let this origin in by name, if the page that led here can have it do so. */
async function introduce(kept) {
  const code = introduction;
  introduction = null;
  try {
    const { directOnly } = kept;
    const { id: found, pin } = await pair(code, { identity: await ownIdentity(), directOnly });
    kept.isNamed = found === id && (kept.pin ??= pin) === pin;
  } catch {
    // It was late, or is used: the device says what it thinks of us.
  }
}

/** Whether the device asks for its access token: not the 401 of an app that has a login of its own. */
const wantsToken = ({ status, headers }) => status === 401 && headers.get("www-authenticate") === "Peerfetch";

async function admitted(options) {
  const identity = await ownIdentity();
  let peer = await connect(id, { ...options, identity });
  let first = await peer.fetch("/", { method: "HEAD" });
  if (introduction && (wantsToken(first) || first.status === 403)) {
    await peer.close();
    await introduce(options);
    peer = await connect(id, { ...options, identity });
    first = await peer.fetch("/", { method: "HEAD" });
  }
  if (!wantsToken(first)) return peer;
  await peer.close();
  throw Object.assign(new Error(WANTED), { reason: "access" });
}

function askForToken(entered) {
  if (entered) say(WRONG, "wrong");
  else say(WANTED);
  $("access").hidden = false;
  $("token").value = "";
  $("token").focus();
}

async function start(entered) {
  $("access").hidden = true;
  say("Connecting …", "connecting");
  let peer;
  let kept;
  try {
    kept = remembered();
    if (!id) throw new Error("This host name is no device's.");
    const serviceWorker = await worker();
    cookies ??= await openCookies();
    space ??= openSpace(serviceWorker);
    if (introduction && !kept.isNamed) await introduce(kept);
    peer = await reach(kept, entered);
    space.add(peer);
  } catch (error) {
    if (error.reason === "access") askForToken(entered);
    else say(error.message, "closed");
    return undefined;
  }
  localStorage.setItem(KEPT, JSON.stringify(kept));
  globalThis.peerfetch = forShim(peer, cookies);
  peer.addEventListener("statechange", () => {
    if (peer.state === "connected") say(null);
    else if (peer.state === "closed") say(peer.error?.message ?? "The connection was closed.", "closed");
    else say("The connection is lost; trying again …", "connecting");
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
  if (!frame.contentDocument) return; // a page of somebody else's, which a link of the app led to
  const { location: inner, document: shown } = frame.contentWindow;
  history.replaceState(null, "", inner.pathname + inner.search + inner.hash);
  document.title = shown.title || id;
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  start($("token").value);
});
// The app begins anew, too.
$("retry").addEventListener("click", () => ($("app").hidden ? start(null) : location.reload()));
start(null);
