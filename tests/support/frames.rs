//! A client of HTTP/2 that writes its frames itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::raw::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// Ends a stream; on settings and pings, answers one.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection whose preface was sent.
pub struct Framed {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Returns a frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns a field as it is written without any table.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0_u8][..], &text(name), &text(value)].concat()
}

/// Returns text as it is written without Huffman's code.
pub fn text(text: &str) -> Vec<u8> {
    let mut written = Vec::new();
    match u8::try_from(text.len()).ok().filter(|length| *length < 127) {
        Some(length) => written.push(length),
        None => {
            written.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                written.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            written.push(u8::try_from(rest).unwrap());
        }
    }
    written.extend_from_slice(text.as_bytes());
    written
}

/// Returns the fields of a message's head.
pub fn message_head(key: &str) -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":authority", "localhost"),
        field(":path", "/v1/messages"),
        field("x-api-key", key),
        field("anthropic-version", "2023-06-01"),
        field("content-type", "application/json"),
    ]
    .concat()
}

/// Returns the frames of a whole message.
pub fn message(stream: u32, key: &str, body: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &message_head(key));
    [head, frame(DATA, END_STREAM, stream, body.as_bytes())].concat()
}

impl Framed {
    /// Connects with settings of the client's own, by identifier.
    pub async fn connect(url: &str, settings: &[(u16, u32)]) -> Self {
        let mut socket = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &settings)].concat();
        socket.write_all(&begin).await.unwrap();
        Self { socket, unread: Vec::new() }
    }

    /// Writes bytes; false where the other end has closed, or takes no more of them.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within(self.socket.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Reads the next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        self.fill(9).await?;
        let (kind, flags) = (self.unread[3], self.unread[4]);
        let length = u32::from_be_bytes([0, self.unread[0], self.unread[1], self.unread[2]]);
        let stream = u32::from_be_bytes(self.unread[5..9].try_into().unwrap());
        let whole = 9 + usize::try_from(length).unwrap();
        self.fill(whole).await?;
        let payload = self.unread.drain(..whole).skip(9).collect();
        Some(Frame { kind, flags, stream, payload })
    }

    /// Reads on to a frame of this kind on this stream; `None` where the connection ends before.
    pub async fn find(&mut self, kind: u8, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if (frame.kind, frame.stream) == (kind, stream) {
                return Some(frame);
            }
        }
    }

    /// Reads all that comes until the connection ends.
    pub async fn read_out(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Takes what has come, and tells whether the connection is open still.
    pub fn is_open(&mut self) -> bool {
        let mut some = [0; 65_536];
        loop {
            match self.socket.try_read(&mut some) {
                Ok(0) => return false,
                Ok(read) => self.unread.extend_from_slice(&some[..read]),
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }

    async fn fill(&mut self, length: usize) -> Option<()> {
        while self.unread.len() < length {
            let read = within(self.socket.read_buf(&mut self.unread)).await;
            read.ok().filter(|read| *read > 0)?;
        }
        Some(())
    }
}
