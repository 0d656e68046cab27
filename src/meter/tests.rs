//! The meter as a whole, on a paused clock.
