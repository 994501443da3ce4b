//! The append-only, hash-chained record of what happened; everything else is a view of it.
