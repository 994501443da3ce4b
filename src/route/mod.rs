//! Which model answers: what was asked, what is feasible, what suffices.
