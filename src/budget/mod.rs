//! Ceilings on money and tokens per period, as demands on the store, and the estimates they hold.
