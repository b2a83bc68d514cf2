/** Patterns of paths: literals and `:name`. */

const NAME = /:([\w$]+)/g;
const literal = (text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** Throws TypeError for a pattern with a query. */
export class Pattern {
  #expression;
  #names = [];

  constructor(pattern) {
    if (/[?&]/.test(pattern)) throw new TypeError(`the pattern ${pattern} has a query: only paths are matched`);
    let source = "";
    let at = 0;
    for (const { index, 0: whole, 1: name } of pattern.matchAll(NAME)) {
      const end = index + whole.length;
      const before = literal(pattern.slice(at, index));
      // A value does not hold what ends it, nor what parts it from the one before (which is as long as it can be):
      // else one path could be cut in many ways, each to be tried.
      let value = pattern[end] === "-" ? "[\\w$.~%]" : "[\\w$.~%-]";
      if (at && !/^-|\//.test(before)) value = `(?:(?!${before})${value})`;
      if (pattern[end] === ":") throw new TypeError(`the pattern ${pattern} has two names side by side`);
      source += `${before}(${value}*)`;
      this.#names.push(name);
      at = end;
    }
    this.#expression = new RegExp(`^${source}${literal(pattern.slice(at))}$`);
  }

  /** The parameters in a path, null if it does not match. */
  match(path) {
    const found = this.#expression.exec(path);
    return found && Object.fromEntries(this.#names.map((name, at) => [name, decoded(found[at + 1])]));
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
