//! Who is calling: a presented key becomes a tenant, a user and a key id.

pub mod ownership;
