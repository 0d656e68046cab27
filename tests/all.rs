//! The one integration binary: one module per command or room, and the stand-in endpoint they talk to.

mod standin;
mod floors;
mod world;
