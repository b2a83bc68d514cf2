/** Routes and middleware. */

import { Pattern } from "./pattern.js";

const handlerOf = (middleware) =>
  typeof middleware === "function" ? middleware : (...rest) => middleware.handle(...rest);

/** Call `middleware` one after the other, each by the `next` of the one before, and `last` in the end. */
async function inTurn(middleware, request, response, last) {
  let at = 0;
  const next = async () => {
    const one = middleware[at++];
    try {
      return await (one ? one(request, response, next) : last());
    } catch (error) {
      // Not every middleware awaits what its `next` gives.
      response._fail(error);
    }
  };
  return next();
}

export class Router {
  #middleware = [];

  /** `middleware` is a function of (request, response, next), or an object whose `handle` is. */
  use(middleware) {
    this.#middleware.push(handlerOf(middleware));
    return this;
  }

  get(pattern, ...rest) {
    return this.method("get", pattern, ...rest);
  }

  post(pattern, ...rest) {
    return this.method("post", pattern, ...rest);
  }

  put(pattern, ...rest) {
    return this.method("put", pattern, ...rest);
  }

  patch(pattern, ...rest) {
    return this.method("patch", pattern, ...rest);
  }

  delete(pattern, ...rest) {
    return this.method("delete", pattern, ...rest);
  }

  /** Answer what `verb` and `pattern` match; a list of middleware may stand before the handler. */
  method(verb, pattern, ...rest) {
    const handler = rest.pop();
    const before = (rest[0] ?? []).map(handlerOf);
    const route = new Pattern(pattern);
    return this.use((request, response, next) => {
      const params = request.method.toLowerCase() === verb.toLowerCase() ? route.match(request.path) : null;
      if (!params) return next();
      request.params = params;
      return inTurn(before, request, response, async () => {
        const given = await handler(request, response);
        if (given instanceof Response) response._give(given);
      });
    });
  }

  handle(request, response, next) {
    return inTurn(this.#middleware, request, response, next);
  }
}
