//! A simulated upstream, as strict as the real one; it imports nothing from the rest of the library.
