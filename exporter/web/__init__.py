"""HTTP: connections, TLS, authentication, content negotiation and the handlers."""
