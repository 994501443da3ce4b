//! Counters that can be held, posted and voided across several levels in one step.
