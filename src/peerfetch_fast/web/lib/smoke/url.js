/** URLs and queries as Smoke's programs take them apart. */

const PARTS = /^(?:([^/?#]*?:)\/\/)?(?:([^/?#@]*)@)?(.*)$/s;

export class Url {
  /**
   * The parts of a URL of any scheme, null for those that it has not: `auth, hash, host, hostname, href, path,
   * pathname, port, protocol, query, search`. `hostname` has the port, and `path` the query and hash, as there.
   */
  static parse(href) {
    const [, protocol = null, auth = null, rest] = PARTS.exec(`${href}`);
    const end = protocol === null ? 0 : rest.search(/[/?#]|$/);
    const hostname = protocol === null ? null : rest.slice(0, end);
    const [host, port = null] = hostname === null ? [null] : hostname.split(/:(.*)/s, 2);
    const path = rest.slice(end) || "/";
    const [, pathname, search, hash] = /^([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(path);
    const asked = { query: search?.slice(1) ?? "", search: search ?? "" };
    return { auth, hash: hash ?? null, host, hostname, href: `${href}`, path, pathname, port, protocol, ...asked };
  }
}

export class QueryString {
  /** The names and values in the query of a URL: a list for a name with several values. */
  static parse(url) {
    const { search } = Url.parse(url);
    return queryOf(new URLSearchParams(search));
  }
}

/** The names and values of a query: a list for a name that comes several times. */
export function queryOf(search) {
  const query = Object.create(null);
  for (const name of new Set(search.keys())) {
    const values = search.getAll(name);
    query[name] = values.length > 1 ? values : values[0];
  }
  return query;
}
