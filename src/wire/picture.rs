//! How large a picture is, from the head of its base64: PNG, JPEG, GIF and WebP.
//!
//! Base64 is read at the places that are needed and nowhere else, so that a picture of any size costs a few dozen
//! bytes. What is told is what decoders go by; a head that is broken, cut or of another kind tells nothing.

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// At least 1.
    pub width: u32,
    /// At least 1.
    pub height: u32,
}

impl Picture {
    /// Reads the size from base64 without line breaks and escapes.
    #[must_use]
    pub fn of(base64: &[u8]) -> Option<Self> {
        let head = Head(base64);
        let (width, height) = match head.array::<4>(0)? {
            [0x89, b'P', b'N', b'G'] => (head.big(16)?, head.big(20)?),
            [b'G', b'I', b'F', b'8'] => (head.little(6, 2)?, head.little(8, 2)?),
            [b'R', b'I', b'F', b'F'] => webp(head)?,
            [0xff, 0xd8, 0xff, _] => jpeg(head)?,
            _ => return None,
        };
        (width > 0 && height > 0).then_some(Self { width, height })
    }
}

/// The bytes that base64 stands for, decoded one by one.
#[derive(Clone, Copy)]
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn byte(self, at: usize) -> Option<u8> {
        let (group, place) = (at.checked_div(3)?.checked_mul(4)?, at % 3);
        let digit = |place: usize| self.0.get(group.checked_add(place)?).copied().and_then(value);
        let (first, second) = (digit(place)?, digit(place + 1)?);
        let (left, right) = (2 * place + 2, 4 - 2 * place);
        Some((u32::from(first) << left | u32::from(second) >> right).to_le_bytes()[0])
    }

    fn array<const COUNT: usize>(self, at: usize) -> Option<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(at.checked_add(place)?)?;
        }
        Some(bytes)
    }

    fn big(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// A number of at most four bytes, the lowest first.
    fn little(self, at: usize, bytes: usize) -> Option<u32> {
        let mut number = 0;
        for place in (0..bytes).rev() {
            number = number << 8 | u32::from(self.byte(at.checked_add(place)?)?);
        }
        Some(number)
    }
}

fn value(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// RFC 9649: the first chunk tells the size, in one of three ways.
fn webp(head: Head<'_>) -> Option<(u32, u32)> {
    if head.array(8)? != *b"WEBP" {
        return None;
    }
    match &head.array::<4>(12)? {
        b"VP8X" => Some((head.little(24, 3)? + 1, head.little(27, 3)? + 1)),
        b"VP8L" => {
            let packed = head.little(21, 4)?;
            Some(((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1))
        }
        b"VP8 " => Some((head.little(26, 2)? & 0x3fff, head.little(28, 2)? & 0x3fff)),
        _ => None,
    }
}

/// ITU T.81: segments are passed over until the one that begins a frame; at most [`SEGMENTS_MAX`].
fn jpeg(head: Head<'_>) -> Option<(u32, u32)> {
    let mut at = 2;
    for _ in 0..SEGMENTS_MAX {
        if head.byte(at)? != 0xff {
            return None;
        }
        match head.byte(at + 1)? {
            // Padding before a marker, and markers that stand alone.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc4 | 0xc8 | 0xcc => at = segment_end(head, at)?,
            0xc0..=0xcf => {
                let [high, low, wide, narrow] = head.array(at + 5)?;
                let number = |one: u8, two: u8| u32::from(u16::from_be_bytes([one, two]));
                return Some((number(wide, narrow), number(high, low)));
            }
            _ => at = segment_end(head, at)?,
        }
    }
    None
}

fn segment_end(head: Head<'_>, at: usize) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes(head.array(at + 2)?));
    (length >= 2).then_some(at + 2 + length)
}

/// More than any camera or editor writes before the frame.
const SEGMENTS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
                text.push(if place <= chunk.len() { letter.into() } else { '=' });
            }
        }
        text
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        [start, width.to_be_bytes().into(), height.to_be_bytes().into(), vec![8, 6, 0, 0, 0]].concat()
    }

    fn gif(width: u16, height: u16) -> Vec<u8> {
        [b"GIF89a".to_vec(), width.to_le_bytes().into(), height.to_le_bytes().into(), vec![0; 3]].concat()
    }

    /// Segments of these lengths stand before the frame.
    fn jpeg_of(width: u16, height: u16, before: &[u16], frame: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8];
        for (place, length) in before.iter().enumerate() {
            bytes.extend([0xff, [0xe0, 0xe1, 0xdb, 0xc4, 0xfe][place % 5]]);
            bytes.extend((length + 2).to_be_bytes());
            bytes.extend(vec![0xff; usize::from(*length)]);
        }
        bytes.extend([0xff, 0xff, frame, 0, 17, 8]);
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        [bytes, vec![3; 8]].concat()
    }

    fn riff(chunk: &[u8], rest: &[u8]) -> Vec<u8> {
        [b"RIFF\x10\0\0\0WEBP", chunk, b"\x0a\0\0\0", rest].concat()
    }

    fn lossy(width: u16, height: u16) -> Vec<u8> {
        let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
        riff(b"VP8 ", &[vec![0, 0, 0, 0x9d, 1, 0x2a], size].concat())
    }

    fn lossless(width: u32, height: u32) -> Vec<u8> {
        riff(b"VP8L", &[vec![0x2f], ((width - 1) | (height - 1) << 14).to_le_bytes().into()].concat())
    }

    fn extended(width: u32, height: u32) -> Vec<u8> {
        let three = |number: u32| number.to_le_bytes()[..3].to_vec();
        riff(b"VP8X", &[vec![0; 4], three(width - 1), three(height - 1)].concat())
    }

    proptest! {
        #[test]
        fn the_size_of_a_made_picture_is_read_from_its_head(
            width in 1_u16..0x3fff, height in 1_u16..0x3fff,
            before in prop::collection::vec(0_u16..5_000, 0..8), frame in 0xc0_u8..0xc4,
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (wide, high) = (u32::from(width), u32::from(height));
            for bytes in [
                png(wide, high), gif(width, height), jpeg_of(width, height, &before, frame),
                lossy(width, height), lossless(wide, high), extended(wide, high),
            ] {
                let whole = base64(&[bytes.clone(), tail.clone()].concat());
                prop_assert_eq!(Picture::of(whole.as_bytes()), Some(Picture { width: wide, height: high }));
                for cut in [0, 3, bytes.len() / 2] {
                    // A cut head tells nothing, or what it told before.
                    let told = Picture::of(base64(&bytes[..cut]).as_bytes());
                    let same = told.is_none_or(|told| told == Picture { width: wide, height: high });
                    prop_assert!(same);
                }
            }
        }

        #[test]
        fn any_text_is_read_without_harm(text in "[A-Za-z0-9+/=]{0,200}", junk in any::<Vec<u8>>()) {
            let framed = base64(&[vec![0xff, 0xd8, 0xff], junk.clone()].concat());
            for told in [Picture::of(text.as_bytes()), Picture::of(&junk), Picture::of(framed.as_bytes())] {
                prop_assert!(told.is_none_or(|told| told.width > 0 && told.height > 0));
            }
        }
    }

    #[test]
    fn nothing_is_told_of_pictures_without_size_and_of_other_things() {
        for bytes in [png(0, 5), gif(5, 0), b"%PDF-1.7".to_vec(), b"BM1234567890".to_vec(), Vec::new()] {
            assert_eq!(Picture::of(base64(&bytes).as_bytes()), None);
        }
        let endless = [vec![0xff, 0xd8], [0xff, 0xe0, 0, 2].repeat(300)].concat();
        assert_eq!(Picture::of(base64(&endless).as_bytes()), None, "more segments than are passed over");
    }
}
