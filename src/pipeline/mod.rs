//! One request, one function.
