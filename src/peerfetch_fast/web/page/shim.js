// Put by the service worker into the documents of a device's own origin, which does not see WebSockets:
// those to the origin itself go over the connection that the shell holds, others as ever.
(() => {
  const shell = window.parent;
  if (shell === window || !shell.peerfetch) return;
  window.WebSocket = new Proxy(WebSocket, {
    construct(target, parameters) {
      const [url, protocols] = parameters;
      const resolved = new URL(url, document.baseURI);
      if (resolved.host !== location.host) return Reflect.construct(target, parameters);
      return shell.peerfetch.websocket(resolved.pathname + resolved.search, protocols);
    },
  });
})();
