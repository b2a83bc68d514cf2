/** The page: connect to a device, see what it has, play and save it. */

import { connect } from "../peerfetch.js";
import { Browser } from "./browse.js";
import { Downloads } from "./downloads.js";
import { keepingFocus } from "./focus.js";
import { decoded } from "./format.js";
import { Graph } from "./graph.js";
import { canScan, scan } from "./scan.js";
import { openUrls } from "./urls.js";

const $ = (id) => document.getElementById(id);
const WORDS = {
  none: "Not connected",
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Connection lost, trying again …",
  closed: "Disconnected",
};

const graph = new Graph();
const downloads = new Downloads();
const browser = new Browser();
let urls = null;
let peer = null;
/** Ends the attempt to connect that runs, if there is one. */
let attempt = new AbortController();
/** The link that it is for. */
let attempted = null;

function show(state, error = null) {
  $("state").dataset.state = state;
  $("state").textContent = WORDS[state];
  $("connect-error").textContent = error?.message ?? "";
  $("connect-error").hidden = !error;
  $("connect-button").textContent = state === "connecting" ? WORDS.connecting : "Connect";
  const isOpen = state === "connected" || state === "reconnecting";
  if ($("device").hidden !== isOpen) return;
  const swap = () => {
    $("connect").hidden = isOpen;
    $("device").hidden = !isOpen;
  };
  keepingFocus(swap, $(isOpen ? "device-name" : "connect-title"));
}

/** What the user entered, or a scanned URL of a page like this one, as a peer's link. */
function linkIn(text) {
  const hash = /^https?:\/\/[^#]*#(.+)$/.exec(text.trim());
  return decoded(hash ? hash[1] : text.trim());
}

async function open(link) {
  attempted = link;
  attempt.abort();
  const { signal } = (attempt = new AbortController());
  show("connecting");
  try {
    const accessToken = $("token").value || null;
    urls ??= await openUrls((transfer) => downloads.add(transfer));
    peer = await connect(link, { accessToken, signal });
  } catch (error) {
    return signal.aborted ? undefined : show("none", error);
  }
  const current = peer;
  current.addEventListener("statechange", () => {
    show(current.state, current.state === "closed" ? current.error : null);
    if (current.state === "closed") left(current);
  });
  history.replaceState(null, "", `#${link.replace(/^peer:\/\//, "")}`);
  document.title = `${current.id} – peerfetch`;
  $("device-shown").textContent = shortened(current.id);
  $("device-name").title = current.id;
  $("insecure").hidden = urls.streaming;
  urls.space?.add(current);
  showApp(current, link);
  show("connected");
  graph.start(() => current.statistics);
  await browser.start(current, urls);
}

function left(gone) {
  graph.stop();
  browser.stop();
  urls.space?.remove(gone);
  document.title = "peerfetch";
}

const shortened = (id) => (id.length > 16 ? `${id.slice(0, 8)}…` : id);

/** The link to the device's own page under an origin of its own, where there can be one. */
function showApp({ id, _isOld }, link) {
  const { hostname, host, protocol } = location;
  const fits = /^[a-z0-9](?:[a-z0-9-]{0,56}[a-z0-9])?$/.test(id);
  const isAddress = /^[\d.]+$|:/.test(hostname);
  $("app").hidden = _isOld || !fits || (isAddress && hostname !== "127.0.0.1") || !urls.streaming;
  const port = location.port ? `:${location.port}` : "";
  const isLocal = hostname === "localhost" || hostname === "127.0.0.1";
  const origin = isLocal ? `${id}.localhost${port}` : `peer-${id}.${host}`;
  $("app-link").href = `${protocol}//${origin}/#${link.replace(/^peer:\/\//, "")}`;
}

$("connect-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const link = linkIn($("link").value);
  if (link && link === attempted && $("state").dataset.state === "connecting") return undefined;
  if (link) return open(link);
  show("none", new Error("Enter the link that the device's proxy printed."));
  return $("link").focus();
});
$("disconnect").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname);
  peer.close();
});
$("scan").addEventListener("click", async () => {
  let found;
  try {
    found = await scan();
  } catch (error) {
    return show("none", error);
  }
  if (!found) return undefined;
  $("link").value = linkIn(found);
  return open($("link").value);
});

async function offerScan() {
  const can = await canScan().catch(() => false);
  $("scan").hidden = !can;
  $("scan-hint").hidden = can;
}
offerScan();

function follow() {
  if (location.hash.length < 2 || peer?.state === "connected") return;
  $("link").value = linkIn(location.hash.slice(1));
  open($("link").value);
}
addEventListener("hashchange", follow);
follow();
