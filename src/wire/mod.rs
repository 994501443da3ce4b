//! The Messages API as bytes: what is read of a request and of an answer, and the few changes made to either.
//!
//! No I/O and no policy. Client bytes are never re-serialised: a change is a splice at an offset.

pub mod envelope;
