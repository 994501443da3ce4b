//! Builds everything from a configuration, swaps snapshots, starts tasks.
