//! What the machine does: full disks, locks, signals; and what is too much.
