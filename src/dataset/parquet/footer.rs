//! A look at a parquet footer before the decoder of the `parquet` crate sees it.
//!
//! That decoder follows the schema by recursion, so that a small file whose schema is nested thousands of
//! levels deep would overflow the stack and end the program. The footer is in Thrift's compact protocol.

use crate::dataset::bytes::Bytes;
use std::io;

/// The deepest nesting of a schema that is read; each list in a column's type takes two levels or three.
const DEEPEST: usize = 100;

/// Why the schema in this file's footer must not be decoded, if it must not.
///
/// What is no footer at all is left to the decoder, which says so.
pub(super) fn refusal(file: &Bytes) -> io::Result<Option<String>> {
    const TAIL: u64 = 8;
    let Some(tail) = file.length()?.checked_sub(TAIL) else { return Ok(None) };
    let mark = file.get(tail..tail + TAIL)?;
    let Some(length) = mark.first_chunk().map(|length| u32::from_le_bytes(*length)) else { return Ok(None) };
    let Some(start) = tail.checked_sub(length.into()) else { return Ok(None) };
    if !mark.ends_with(b"PAR1") {
        return Ok(None);
    }
    Ok(check(&file.get(start..tail)?).err())
}

/// Walks the footer as far as it is well formed; the rest the decoder refuses.
pub(in crate::dataset) fn check(footer: &[u8]) -> Result<(), String> {
    Thrift { rest: footer }.schemas().unwrap_or(Ok(()))
}

/// The kinds of value in Thrift's compact protocol.
mod kind {
    /// The end of a struct.
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
}

/// What is left of a message; `None` from any method is a message that is cut or malformed.
struct Thrift<'b> {
    rest: &'b [u8],
}

impl Thrift<'_> {
    /// Checks each field 2 of the footer: there should be one, but the decoder would follow a second.
    fn schemas(&mut self) -> Option<Result<(), String>> {
        let mut last = 0;
        loop {
            let (field, kind) = self.field(last)?;
            last = field;
            match (field, kind) {
                (_, kind::STOP) => return Some(Ok(())),
                (2, kind::LIST) => {
                    if let Err(refusal) = self.schema()? {
                        return Some(Err(refusal));
                    }
                }
                _ => self.skip(kind, 0)?,
            }
        }
    }

    /// Walks through a schema, which is a list of its nodes, depth first.
    fn schema(&mut self) -> Option<Result<(), String>> {
        let (nodes, of) = self.list()?;
        // Of each node that is not complete, how many children are still to begin.
        let mut open: Vec<u64> = Vec::new();
        for _ in 0..nodes {
            let children = if of == kind::STRUCT { self.children()? } else { return None };
            if let Some(siblings) = open.last_mut() {
                *siblings -= 1;
            }
            if children > nodes {
                return Some(Err("its schema has a group of more columns than there are".into()));
            }
            if children > 0 {
                open.push(children);
            }
            // A node without children completes those that waited for it alone.
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > DEEPEST {
                return Some(Err(format!("its schema is nested more than {DEEPEST} levels deep")));
            }
        }
        Some(Ok(()))
    }

    /// Reads a node of the schema for the number of its children (its field 5).
    fn children(&mut self) -> Option<u64> {
        let mut last = 0;
        let mut children = 0;
        loop {
            let (field, kind) = self.field(last)?;
            last = field;
            match (field, kind) {
                (_, kind::STOP) => return Some(children),
                (5, kind::I16..=kind::I64) => children = u64::try_from(self.signed()?).ok()?,
                _ => self.skip(kind, 0)?,
            }
        }
    }

    /// The number and kind of the next field of a struct, which may be its end.
    fn field(&mut self, last: i64) -> Option<(i64, u8)> {
        let header = self.byte()?;
        match (header >> 4, header & 0x0f) {
            (_, kind::STOP) => Some((last, kind::STOP)),
            (0, kind) => Some((self.signed()?, kind)),
            (ahead, kind) => Some((last.checked_add(ahead.into())?, kind)),
        }
    }

    /// How many items a list has, and of what kind.
    fn list(&mut self) -> Option<(u64, u8)> {
        const LONG: u8 = 15;
        let header = self.byte()?;
        let items = match header >> 4 {
            LONG => self.unsigned()?,
            items => items.into(),
        };
        Some((items, header & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        // As deep as the decoder follows what it skips.
        const DEEPEST_SKIPPED: usize = 64;
        if depth > DEEPEST_SKIPPED {
            return None;
        }
        match kind {
            kind::TRUE | kind::FALSE => {}
            kind::BYTE => drop(self.byte()?),
            kind::I16..=kind::I64 => drop(self.unsigned()?),
            kind::DOUBLE => self.pass(size_of::<f64>() as u64)?,
            kind::BINARY => {
                let length = self.unsigned()?;
                self.pass(length)?;
            }
            kind::LIST | kind::SET => {
                let (items, of) = self.list()?;
                for _ in 0..items {
                    self.item(of, depth)?;
                }
            }
            kind::MAP => {
                let entries = self.unsigned()?;
                let kinds = if entries == 0 { 0 } else { self.byte()? };
                for _ in 0..entries {
                    self.item(kinds >> 4, depth)?;
                    self.item(kinds & 0x0f, depth)?;
                }
            }
            kind::STRUCT => {
                let mut last = 0;
                loop {
                    let (field, kind) = self.field(last)?;
                    if kind == kind::STOP {
                        break;
                    }
                    last = field;
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Skips an item of a list or a map, where a boolean is a byte; in a field's header it is its kind.
    fn item(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            kind::TRUE | kind::FALSE => self.byte().map(drop),
            other => self.skip(other, depth + 1),
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let zigzag = self.unsigned()?;
        Some((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn pass(&mut self, length: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(length).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The start of a footer: version 1, and a schema with one column, this many groups deep.
    fn nested(groups: usize) -> Vec<u8> {
        const LEAF: [u8; 8] = [0x15, 0x02, 0x25, 0x02, 0x18, 0x01, b'x', 0x00];
        // A list of structs, of more than 14 (a length of less than 128 is one byte).
        let mut footer = vec![0x15, 0x02, 0x19, 0xfc, u8::try_from(groups + 1).unwrap()];
        (0..groups).for_each(|_| footer.extend(group(1)));
        footer.extend(LEAF);
        footer
    }

    fn group(children: u8) -> [u8; 8] {
        [0x35, 0x02, 0x18, 0x01, b'g', 0x15, children << 1, 0x00]
    }

    #[test]
    fn a_schema_that_is_nested_too_deep_is_refused() {
        assert_eq!(check(&nested(DEEPEST)), Ok(()));
        let refused = check(&nested(DEEPEST + 1)).unwrap_err();
        assert_eq!(refused, "its schema is nested more than 100 levels deep");
    }

    #[test]
    fn a_second_schema_is_looked_at_too() {
        // Its field number is given in full: the schema is field 2 again.
        let again = [nested(1), vec![0x09, 0x04], nested(DEEPEST + 1)[3..].to_vec()].concat();
        assert!(check(&again).is_err());
    }

    #[test]
    fn siblings_are_not_levels() {
        let mut wide = vec![0x19, 0xfc, 0xff, 0x01];
        wide.extend(group(127));
        wide[9] = 0xfe;
        wide.insert(10, 0x03);
        (0..254).for_each(|_| wide.extend(group(0)));
        assert_eq!(check(&wide), Ok(()));
    }

    #[test]
    fn a_group_cannot_have_more_columns_than_there_are() {
        let footer = [vec![0x29, 0x1c], group(2).to_vec()].concat();
        assert_eq!(check(&footer).unwrap_err(), "its schema has a group of more columns than there are");
    }

    #[test]
    fn what_is_cut_or_claims_to_be_endless_is_left_to_the_decoder() {
        let footer = nested(20);
        assert!((0..footer.len()).all(|cut| check(&footer[..cut]).is_ok()));
        let endless = [vec![0x15, 0x02, 0x19, 0xf3], vec![0xff; 9], vec![0x00]].concat();
        assert_eq!(check(&endless), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
            let _ = check(&[vec![0x29], bytes].concat());
        }
    }
}
