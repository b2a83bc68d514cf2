// Put by the service worker into the documents of a device's own origin, which does not see WebSockets:
// those to the origin itself go over the connection that the shell holds, others as ever. And
// document.cookie is what the shell keeps, since the browser's own cookies go to the server of the page.
(() => {
  const shell = window.parent;
  if (shell === window || !shell.peerfetch) return;
  window.WebSocket = new Proxy(WebSocket, {
    construct(target, parameters) {
      const [url, protocols] = parameters;
      const resolved = new URL(url, document.baseURI);
      if (resolved.host !== location.host) return Reflect.construct(target, parameters);
      return shell.peerfetch.websocket(resolved, protocols);
    },
  });
  Object.defineProperty(document, "cookie", {
    configurable: true,
    get: () => shell.peerfetch.cookies(location.pathname),
    set: (text) => shell.peerfetch.setCookie(String(text), location.pathname),
  });
})();
