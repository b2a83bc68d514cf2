/** Paths with slashes, as Node's `path.posix` has them. */

/** Directory with its slash, name, and extension with its dot. */
const PARTS = /^(\/?|)([\s\S]*?)((?:\.{1,2}|[^/]+?|)(\.[^./]*|))\/*$/;

const partsOf = (path) => PARTS.exec(`${path}`).slice(1);

/** The parts of a path without `.`, and without `..` where it can be followed. */
function resolved(parts, isAbsolute) {
  const found = [];
  for (const part of parts) {
    if (part === "" || part === ".") continue;
    if (part !== "..") found.push(part);
    else if (found.length > 0 && found.at(-1) !== "..") found.pop();
    else if (!isAbsolute) found.push("..");
  }
  return found;
}

export class Path {
  static sep = "/";
  static delimiter = ":";
  /** What relative paths are resolved from. */
  static cwd = "/";

  static basename(path, extension = "") {
    const [, , base] = partsOf(path);
    return extension && base.endsWith(extension) ? base.slice(0, base.length - extension.length) : base;
  }

  static dirname(path) {
    const [root, directory] = partsOf(path);
    return root + directory.slice(0, -1) || ".";
  }

  static extname(path) {
    return partsOf(path)[3];
  }

  static format({ root = "", dir = "", base = "" }) {
    return dir ? `${dir}${dir === root ? "" : "/"}${base}` : `${root}${base}`;
  }

  static isAbsolute(path) {
    return path.startsWith("/");
  }

  static join(...paths) {
    return Path.normalize(paths.filter(Boolean).join("/"));
  }

  static normalize(path) {
    const isAbsolute = Path.isAbsolute(path);
    const found = resolved(path.split("/"), isAbsolute).join("/") || (isAbsolute ? "" : ".");
    return `${isAbsolute ? "/" : ""}${found}${path.endsWith("/") && found ? "/" : ""}`;
  }

  static parse(path) {
    const [root, directory, base, ext] = partsOf(path);
    return { root, dir: root + directory.slice(0, -1), base, ext, name: base.slice(0, base.length - ext.length) };
  }

  static relative(from, to) {
    const [left, right] = [from, to].map((path) => Path.resolve(path).split("/").filter(Boolean));
    let same = 0;
    while (same < left.length && left[same] === right[same]) same++;
    return [...left.slice(same).fill(".."), ...right.slice(same)].join("/");
  }

  static resolve(...paths) {
    let found = "";
    for (const path of [Path.cwd, ...paths]) found = Path.isAbsolute(path) ? path : `${found}/${path}`;
    return `/${resolved(found.split("/"), true).join("/")}`;
  }
}
