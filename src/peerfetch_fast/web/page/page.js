/** The page: connect to a device, see what it has, play and save it. */

import { looksLikeCode, waitingName } from "../lib/codes.js";
import { knock } from "../lib/pair.js";
import { askFor, memberOf, offerTo } from "../lib/room.js";
import { connect, pair } from "../peerfetch.js";
import { Browser } from "./browse.js";
import { Devices, storage } from "./devices.js";
import { Downloads } from "./downloads.js";
import { onFiles } from "./dropped.js";
import { $, element, icon } from "./elements.js";
import { keepingFocus } from "./focus.js";
import { bytes } from "./format.js";
import { Graph } from "./graph.js";
import { ownIdentity } from "./identity.js";
import { Inbox, isInbox } from "./inbox.js";
import { fragmentOf, isShare, parseLink } from "./links.js";
import { Nearby } from "./nearby.js";
import { Offer, browserName } from "./offer.js";
import { askSomebody } from "./dialogs.js";
import { ownCode } from "./own_code.js";
import { askForDigits, askForToken, askWhetherToTrust } from "./questions.js";
import { canScan, scan } from "./scan.js";
import { Sender } from "./send.js";
import { beTarget, sharedFiles } from "./share_sheet.js";
import { openUrls } from "./urls.js";
import { DirectOnly, WayShown } from "./way.js";

/** Milliseconds in which the one who offers something hears that it is wanted, before the page turns to it. */
const ACCEPT_DELAY = 200;
const WORDS = {
  none: "Not connected",
  asked: "Not connected yet",
  left: "Disconnected",
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Connection lost …",
  closed: "Disconnected",
};
/** Where each part of the page takes the keyboard to. */
const SECTIONS = {
  connect: "connect-title",
  access: "access-title",
  digits: "digits-title",
  trust: "trust-title",
  device: "device-name",
  offer: "offer-title",
  send: "send-title",
  inbox: "inbox-title",
};

const devices = new Devices(storage("localStorage"), storage("sessionStorage"));
const graph = new Graph();
const wayShown = new WayShown();
const direct = new DirectOnly(storage("localStorage"));
let downloads = null;
const browser = new Browser((where) => (downloads = new Downloads(where)), () => askAgain());
const offer = new Offer(() => cancelled());
const inbox = new Inbox(() => cancelled());
const sender = new Sender((isSharing) => {
  if (!isSharing) return show("none");
  if (current || attempted) cancelled();
  $("state").dataset.state = "connected";
  $("state").textContent = "Sharing";
  nearby.kind = "gives";
  return turnTo("send");
}, direct);
const nearby = new Nearby((id) => shortened(id), {
  ask: async (name) => ((await askSomebody(`${name}, in this network, wants to have it.`)) ? sender.way : null),
  offer: acceptOffer,
  send: (member) => offerTo(member.id, sender.offer, { directOnly: direct.isWanted }),
});
onFiles((files) => {
  if (!$("inbox").hidden) inbox.send(files);
  else if (!$("device").hidden && browser.takesFiles) browser.send(files);
  else sender.share(files);
});
let urls = null;
/** The device that is connected, `{peer, link}`. */
let current = null;
/** Ends the attempt to connect that runs, if there is one, or the question that is asked for it. */
let attempt = new AbortController();
/** The link that it is for, as a fragment. */
let attempted = null;

function show(state, error = null) {
  $("state").dataset.state = state;
  $("state").textContent = WORDS[state];
  $("connect-error").textContent = error?.message ?? "";
  $("connect-error").hidden = !error;
  const isConnecting = state === "connecting";
  $("connect-button").textContent = isConnecting ? WORDS.connecting : "Connect";
  $("connect-form").ariaBusy = String(isConnecting);
  $("cancel").hidden = !isConnecting;
  const isOpen = state === "connected" || state === "reconnecting";
  nearby.kind = isOpen || isConnecting ? null : "takes";
  turnTo(isOpen ? (offer.isShown ? "offer" : inbox.isShown ? "inbox" : "device") : "connect");
  if (!isOpen) showKnown();
}

/** Turn to a question. */
function ask(section) {
  $("state").dataset.state = "none";
  $("state").textContent = WORDS.asked;
  nearby.kind = null;
  turnTo(section);
}

/** Show that part of the page, and no other. */
function turnTo(name) {
  if (!$(name).hidden) return;
  const swap = () => {
    for (const section of Object.keys(SECTIONS)) $(section).hidden = section !== name;
  };
  keepingFocus(swap, $(SECTIONS[name]));
}

/** Connect to what `link` names, `{id, path, pin}`, and show it. */
async function open(link) {
  leave();
  attempted = fragmentOf(link);
  attempt.abort();
  const { signal } = (attempt = new AbortController());
  show("connecting");
  try {
    urls ??= await openUrls((transfer) => (offer.isShown ? offer : downloads).add(transfer));
    const meant = await named(link, signal);
    if (signal.aborted) return undefined;
    if (!meant) return cancelled();
    const peer = await reach(meant, signal);
    if (signal.aborted) return peer?.close();
    if (!peer) return cancelled();
    return await enter(peer, meant);
  } catch (error) {
    return signal.aborted ? undefined : show("none", error);
  }
}

/** The link of the device that is meant; null when the person would rather not. */
async function named(link, signal) {
  if (waitingName(link.id)) return agreed(link.id, signal);
  if (memberOf(link.id)?.kind === "gives") return given(link.id, signal);
  return isCode(link) ? paired(link.id, signal) : link;
}

/** Whether what was entered is a code, and not the id of a device. */
const isCode = ({ id, path, pin }) => looksLikeCode(id) && path === "/" && !pin;

/** The link of the device that shows the code, which from now on knows this browser. */
async function paired(code, signal, at = null) {
  const about = { identity: await ownIdentity(), directOnly: direct.isWanted, signal };
  const { id, pin, token: secret } = await pair(code, { ...about, at });
  if (secret) return { id, path: "/", pin, secret };
  devices.remember(id, pin, true);
  return { id, path: "/", pin };
}

/** The link of what somebody in this network shares, once they have let us have it. */
async function given(id, signal) {
  $("connect-button").textContent = `Asking ${memberOf(id).name} …`;
  return { ...(await askFor(id, browserName(), { signal, directOnly: direct.isWanted })), path: "/", isAccepted: true };
}

/** Whether the person takes what somebody in this network wants to send, which then begins. */
async function acceptOffer({ by, title, files, total, peer_id: id, pin, token: secret }) {
  const count = `${files} files`;
  const what = files === 1 || title === count ? title : `${title} (${count})`;
  const isWanted = await askSomebody(`${by} wants to send you ${what}, ${bytes(total)}.`);
  if (isWanted) setTimeout(() => open({ id, pin, secret, path: "/", isAccepted: true }), ACCEPT_DELAY);
  return isWanted;
}

/** The same for one that waits in this network, once the digits that it shows were entered; null as above. */
async function agreed(id, signal) {
  await knock(id, { signal, directOnly: direct.isWanted });
  for (let problem = null; ; ) {
    ask("digits");
    const digits = await askForDigits({ name: waitingName(id), problem, signal });
    if (digits === null) return null;
    show("connecting");
    try {
      return await paired(digits, signal, id);
    } catch (error) {
      if (error.reason !== "access" && error.reason !== "code") throw error;
      problem = error.reason === "code" ? error.message : "Those are not the digits that it shows.";
    }
  }
}

/** A Peer, once all that is asked for it was answered; null when the person would rather not. */
async function reach(link, signal) {
  const { id } = link;
  const known = devices.get(id);
  let pin = link.pin ?? known?.pin ?? null;
  let { secret = null } = link;
  /** A certificate that the person has said to be the device's. */
  let trusted = known?.pin ?? null;
  for (let failure = null; ; ) {
    signal.throwIfAborted();
    const shown = failure?.reason === "pin" ? failure.fingerprint : pin;
    if (known && shown !== trusted) {
      ask("trust");
      if (!(await askWhetherToTrust({ known, shown, signal }))) return null;
      pin = trusted = shown;
    } else if (failure?.reason === "access" && isShare(id)) {
      throw failure;
    } else if (failure?.reason === "access" && secret) {
      secret = null; // the invitation is over: perhaps the device knows this browser already
    } else if (failure?.reason === "access") {
      ask("access");
      const token = await askForToken({ isAgain: devices.token(id) !== null, signal });
      if (token === null) return null;
      devices.setToken(id, token);
    } else if (failure) {
      throw failure;
    }
    show("connecting");
    try {
      const identity = await ownIdentity();
      const accessToken = secret ?? devices.token(id);
      const about = { accessToken, identity, directOnly: direct.isWanted };
      const peer = await connect(pin ? `${id}#${pin}` : id, { ...about, signal });
      // From now on the device knows this browser, and the invitation will be over some day.
      if (secret && !isShare(id)) {
        peer._accessToken = devices.token(id);
        link.named = true;
      }
      return peer;
    } catch (error) {
      if (signal.aborted) throw error;
      const isQuestion = error.reason === "access" || (known && error.fingerprint);
      if (!isQuestion) throw error;
      failure = error;
    }
  }
}

async function enter(peer, link) {
  const { id } = peer;
  // An old proxy has a new certificate each time.
  if (!peer._isOld) {
    if (!isShare(id)) devices.remember(id, peer.fingerprint, link.named);
    peer._pin = peer.fingerprint;
    link.pin = peer.fingerprint;
  }
  const entered = (current = { peer, link });
  peer.addEventListener("statechange", () => {
    if (current !== entered) return undefined;
    downloads.isLost = offer.isLost = peer.state === "reconnecting";
    if (peer.state !== "closed") return show(peer.state);
    return lost(entered);
  });
  if (location.hash !== fragmentOf(link)) {
    const keep = location.hash.length > 1 ? "replaceState" : "pushState";
    history[keep](null, "", fragmentOf(link));
  }
  if (isInbox(id)) {
    const asking = inbox.begin(peer);
    show("connected");
    return asking;
  }
  if (isShare(id)) {
    offer.begin(peer, urls);
    show("connected");
    return offer.load(link.isAccepted);
  }
  document.title = `${id} – peerfetch`;
  $("device-shown").textContent = shortened(id);
  $("device-name").title = id;
  $("insecure").hidden = urls.streaming;
  $("another-said").hidden = true;
  $("share").hidden = !(navigator.share || navigator.clipboard);
  $("share").textContent = navigator.share ? "Share link" : "Copy link";
  urls.space?.add(peer);
  downloads.isLost = false;
  show("connected");
  graph.start(() => peer.statistics);
  wayShown.start(peer);
  const about = { token: devices.token(id), directOnly: direct.isWanted, named: devices.get(id)?.named };
  await browser.start(peer, urls, { ...link, ...about });
}

const shortened = (id) => (id.length > 16 ? `${id.slice(0, 8)}…` : id);

/** The connection is over for good, and nobody here wanted that. */
function lost({ peer, link }) {
  const { error } = peer;
  leave();
  if (error?.reason === "pin" || error?.reason === "access") open(link);
  else show("closed", error);
}

/** The device wants an access token, and there is none, or another one. */
async function askAgain() {
  if (!current) return undefined;
  const { peer, link } = current;
  const { path } = parseLink(location.hash) ?? link;
  leave();
  attempt.abort();
  const { signal } = (attempt = new AbortController());
  attempted = null;
  ask("access");
  const token = await askForToken({ isAgain: devices.token(peer.id) !== null, signal });
  if (signal.aborted) return undefined;
  if (token === null) return cancelled();
  devices.setToken(peer.id, token);
  return open({ ...link, path });
}

/** Let go of who is connected. */
function leave() {
  if (!current) return;
  const { peer } = current;
  current = null;
  graph.stop();
  wayShown.stop();
  browser.stop();
  offer.stop();
  inbox.stop();
  urls.space?.remove(peer);
  document.title = "peerfetch";
  peer.close();
}

/** Back to the beginning, because somebody wanted it. */
function cancelled() {
  const was = current;
  leave();
  attempt.abort();
  attempted = null;
  show(was ? "left" : "none");
}

/** What is said to somebody who wants to use the device in another browser: texts and elements. */
async function codeFor(peer) {
  const { code, minutes, refused } = await ownCode(peer);
  if (refused) return [refused];
  const shown = element("strong", { textContent: code });
  return ["Enter ", shown, ` in the other browser within ${minutes} minutes. It is let in as this one is.`];
}

/** The devices that this browser knows. */
function showKnown() {
  const known = devices.list();
  $("known").hidden = known.length === 0;
  const rows = known.map(({ id, pin, seen }) => {
    const link = element("a", { className: "entry", href: fragmentOf({ id, pin }) });
    const when = new Date(seen).toLocaleDateString(undefined, { dateStyle: "medium" });
    link.append(
      element("span", { className: "thumb" }, icon("device")),
      element("span", { className: "name", textContent: shortened(id), title: id }),
      element("time", { className: "date", textContent: `seen ${when}` }),
    );
    const forget = element("button", { type: "button", className: "quiet small", textContent: "Forget" });
    forget.setAttribute("aria-label", `Forget ${shortened(id)}`);
    forget.addEventListener("click", () => {
      devices.forget(id);
      keepingFocus(showKnown, $("connect-title"));
    });
    return element("li", {}, link, forget);
  });
  $("known-list").replaceChildren(...rows);
}

$("connect-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const link = parseLink($("link").value);
  if (!link) {
    show("none", new Error("Enter the link that the device's proxy printed, or a code."));
    return $("link").focus();
  }
  const isRunning = $("state").dataset.state === "connecting";
  return isRunning && attempted === fragmentOf(link) ? undefined : open(link);
});
$("cancel").addEventListener("click", () => {
  keepingFocus(cancelled, $("connect-title"));
});
$("disconnect").addEventListener("click", () => {
  history.pushState(null, "", location.pathname);
  cancelled();
});
$("share").addEventListener("click", async () => {
  const { href: url } = location;
  try {
    if (navigator.share) return await navigator.share({ url });
    await navigator.clipboard.writeText(url);
  } catch {
    return undefined; // the person, or the browser, would rather not
  }
  $("share").textContent = $("shared").textContent = "Link copied";
  return setTimeout(() => ($("share").textContent = "Copy link"), 2000);
});
$("another").addEventListener("click", async () => {
  const { peer } = current;
  let said;
  try {
    said = await codeFor(peer);
  } catch {
    said = ["The device did not answer. Try again."];
  }
  if (current?.peer !== peer) return;
  $("another-said").replaceChildren(...said);
  $("another-said").hidden = false;
});
$("scan").addEventListener("click", async () => {
  let found;
  try {
    found = await scan();
  } catch (error) {
    return show("none", error);
  }
  if (!found) return undefined;
  $("link").value = found;
  return open(parseLink(found) ?? { id: found, path: "/", pin: null });
});

async function offerScan() {
  const can = await canScan().catch(() => false);
  $("scan").hidden = !can;
  $("scan-hint").hidden = can;
}
offerScan();

/** Show what the address says. */
function follow() {
  const link = parseLink(location.hash);
  if (!link) return current || attempted ? cancelled() : undefined;
  const { peer } = current ?? {};
  const isSame = peer?.id === link.id && (link.pin === null || link.pin === current.link.pin);
  if (isSame) return isShare(link.id) ? undefined : browser.open(link.path);
  $("link").value = location.hash.slice(1);
  return open(link);
}
// Also of links to other devices, and of an address that was changed by hand.
addEventListener("popstate", follow);
show("none");
follow();
beTarget();
sharedFiles().then((files) => sender.share(files), () => {});
