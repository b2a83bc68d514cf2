/** The device's own page, under an origin of its own (docs/browser.md). */

import { fragmentOf } from "./links.js";

/** Milliseconds that the endpoint may take to answer under that origin's name. */
const REACH_TIMEOUT = 4000;

/**
 * Where the device's own page shows `path`; null where this page's address leaves no place for it.
 * @param about `token`, what was entered here, so that it is not asked for again there, `directOnly`, what was chosen
 *   here, and `code`, by which the device lets that origin in by name; the page takes them from its address
 */
export function appUrl(id, path, pin, { token = null, directOnly = false, code = null } = {}) {
  const { hostname, host, protocol, port } = location;
  const fits = /^[a-z0-9](?:[a-z0-9-]{0,56}[a-z0-9])?$/.test(id);
  const isLocal = hostname === "localhost" || hostname === "127.0.0.1";
  const isAddress = /^[\d.]+$|:/.test(hostname);
  if (!fits || !isSecureContext || (isAddress && !isLocal)) return null;
  const place = isLocal ? `${id}.localhost${port ? `:${port}` : ""}` : `peer-${id}.${host}`;
  const said = fragmentOf({ id, pin }).replace("#", `#${directOnly ? "direct" : "any"}!${code ? `${code}!` : ""}`);
  return `${protocol}//${place}${path}${said}${token ? `#${encodeURIComponent(token)}` : ""}`;
}

/** Whether the endpoint is there under that name too: it takes a wildcard DNS entry and certificate. */
export async function isReachable(url) {
  const { origin } = new URL(url);
  const controller = new AbortController();
  const late = setTimeout(() => controller.abort(), REACH_TIMEOUT);
  const { signal } = controller;
  try {
    await fetch(`${origin}/~peerfetch/page/icon.svg`, { mode: "no-cors", cache: "no-store", signal });
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(late);
  }
}
