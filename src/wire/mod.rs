//! The Messages API as bytes: what is read of a request and of an answer, and the few changes made to either.
//!
//! No I/O and no policy. Client bytes are never re-serialised: a change is a splice at an offset. [`json`] and
//! [`sse`] are the grammars; [`envelope`] and [`batch`] read requests; [`meter`] and [`objects`] read answers;
//! [`chunked`] frames bodies; [`picture`] tells how large an image is; [`splice`] changes a body; [`texts`] finds what in it somebody wrote, [`said`] what an answer says; [`forms`] turns an answer into its other form; [`headers`],
//! [`unified`] and [`error`] are the rest of a message.

pub mod batch;
pub mod characters;
pub mod chunked;
pub mod envelope;

pub mod error;
pub mod file_ids;
pub mod forms;
pub mod headers;
pub mod json;
pub mod meter;
pub mod objects;
pub mod picture;
pub mod said;
pub mod schema;
pub mod splice;
pub mod sse;
pub mod texts;
pub mod transcript;
pub mod unified;
