//! Ordered guards over a request.
