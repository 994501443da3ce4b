//! How much model a request needs, with the evidence.
