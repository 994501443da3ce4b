//! Listeners, TLS, routes and drain.
