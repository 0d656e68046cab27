//! Tests of reading whole rows, through the door of the room.
