"""The browser's side: the client module, the page, and the endpoint that serves both."""
