//! Ceilings on rates, as demands on the store.
