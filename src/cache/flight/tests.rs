use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body::Frame;
use proptest::prelude::*;

use super::*;

/// A body of some pieces, written down as they are read; it is pending before each, and wakes.
struct Pieces {
    flight: std::sync::Weak<Flight>,
    left: VecDeque<Bytes>,
    ready: bool,
    dropped: Arc<AtomicUsize>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = UpstreamFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFailure>>> {
        self.ready = !self.ready;
        if self.ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(piece) = self.left.pop_front() else { return Poll::Ready(None) };
        let flight = self.flight.upgrade().unwrap();
        flight.write(&piece);
        if self.left.is_empty() {
            flight.land(Arc::default());
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn opened(pieces: &[Bytes], max_bytes: usize) -> (Arc<Flight>, Reader, Arc<AtomicUsize>) {
    let (flight, dropped) = (Flight::new(max_bytes), Arc::new(AtomicUsize::new(0)));
    let leader = flight.lead();
    let left = pieces.iter().cloned().collect();
    let source =
        Pieces { flight: Arc::downgrade(&flight), left, ready: false, dropped: Arc::clone(&dropped) };
    flight.open(HeaderMap::new(), Box::pin(source));
    (flight, leader, dropped)
}

/// Polls once or twice, as a task that was woken does; `None` while pending.
fn poll(reader: &mut Reader) -> Option<Option<Result<Bytes, UpstreamFailure>>> {
    let context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        if let Poll::Ready(read) = reader.poll_piece(&context) {
            return Some(read);
        }
    }
    None
}

#[test]
fn an_answer_whose_pieces_are_all_read_is_not_over_before_its_record_is_written() {
    let flight = Flight::new(1_000);
    let mut reader = flight.lead();
    flight.write(&Bytes::from_static(b"all of it"));
    flight.release();
    assert!(poll(&mut reader).is_some());
    // Only now the end came, and what is known is told before the record is written.
    flight.land(Arc::default());
    assert!(!reader.is_over());
    flight.end(Ok(()));
    assert!(reader.is_over());
}

proptest! {
    /// Readers come, read and leave in any order; whoever stays to the end has read everything.
    #[test]
    fn every_reader_reads_all_of_it_whatever_the_others_do(
        sizes in prop::collection::vec(1usize..5, 1..12),
        steps in prop::collection::vec((0usize..6, 0u8..4), 0..120),
    ) {
        let pieces: Vec<Bytes> =
            sizes.iter().enumerate().map(|(number, size)| Bytes::from(vec![u8::try_from(number).unwrap(); *size])).collect();
        let whole = pieces.concat();
        let (flight, leader, dropped) = opened(&pieces, 1_000);
        let mut readers: Vec<Option<(Reader, Vec<u8>)>> = vec![Some((leader, Vec::new()))];
        for (place, step) in steps {
            if dropped.load(Ordering::Relaxed) == 1 && flight.facts().is_none() {
                break; // Everyone left before its end.
            }
            let count = readers.len();
            match (step, &mut readers[place % count]) {
                (0, _) => readers.push(flight.join().map(|reader| (reader, Vec::new()))),
                (1, slot) => *slot = None,
                (_, Some((reader, read))) => {
                    if let Some(Some(piece)) = poll(reader) {
                        read.extend_from_slice(&piece.unwrap());
                    }
                }
                (_, None) => {}
            }
        }
        for (reader, read) in readers.iter_mut().flatten() {
            while let Some(piece) = poll(reader).unwrap() {
                read.extend_from_slice(&piece.unwrap());
            }
            prop_assert_eq!(&*read, &whole);
            prop_assert!(reader.is_over() && reader.is_at_end());
            prop_assert_eq!(flight.written().unwrap(), whole.clone());
        }
        drop(readers);
        prop_assert_eq!(dropped.load(Ordering::Relaxed), 1, "the source is let go once");
    }
}

#[test]
fn the_last_reader_to_leave_drops_the_source() {
    let pieces = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
    let (flight, leader, dropped) = opened(&pieces, 1_000);
    let follower = flight.join().unwrap();
    drop(leader);
    assert_eq!((dropped.load(Ordering::Relaxed), flight.first_left()), (0, true));
    drop(follower);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn who_waits_for_a_call_that_fails_is_told_and_nobody_joins_it() {
    let flight = Flight::new(10);
    let mut follower = flight.join().unwrap();
    assert!(follower.poll_departure(&Context::from_waker(Waker::noop())).is_pending());
    flight.fail();
    let told = follower.poll_departure(&Context::from_waker(Waker::noop()));
    assert!(matches!(told, Poll::Ready(Departure::Failed)));
    assert!(flight.join().is_none());
}

#[test]
fn a_larger_answer_is_let_go_of_and_only_who_keeps_up_reads_on() {
    let pieces: Vec<Bytes> = (0..64).map(|_| Bytes::from(vec![7; 64 << 10])).collect();
    let (flight, mut quick, _) = opened(&pieces, 1 << 20);
    let mut slow = flight.join().unwrap();
    assert!(poll(&mut slow).unwrap().unwrap().is_ok());
    let mut read = 0;
    while let Some(piece) = poll(&mut quick).unwrap() {
        read += piece.unwrap().len();
        let held = flight.lock().written.held_bytes();
        assert!(held <= (1 << 20) + LAG_MAX_BYTES, "{held}");
    }
    assert_eq!(read, 64 * (64 << 10));
    assert_eq!((flight.written(), flight.join().is_none()), (None, true));
    assert!(poll(&mut slow).unwrap().unwrap().is_err());
}

#[test]
fn a_cut_is_seen_by_all_after_what_came() {
    let flight = Flight::new(1_000);
    let (mut leader, mut follower) = (flight.lead(), flight.join().unwrap());
    flight.write(&Bytes::from_static(b"a"));
    flight.release();
    flight.end(Err(UpstreamFailure::given_up()));
    for reader in [&mut leader, &mut follower] {
        assert_eq!(poll(reader).unwrap().unwrap().unwrap().as_ref(), b"a");
        assert_eq!(poll(reader).unwrap().unwrap(), Err(UpstreamFailure::given_up()));
    }
    assert!(flight.join().is_none());
}

#[test]
fn readers_that_lag_are_given_slices_of_one_memory() {
    let flight = Flight::new(1 << 20);
    let (mut one, mut other) = (flight.lead(), flight.join().unwrap());
    let pieces: Vec<Bytes> = (0..9).map(|number| Bytes::from(vec![number; 100])).collect();
    for piece in &pieces {
        flight.write(piece);
    }
    for _ in 1..pieces.len() {
        flight.release();
    }
    let [first, second] = [&mut one, &mut other].map(|reader| poll(reader).unwrap().unwrap().unwrap());
    assert_eq!(first, pieces[..8].concat(), "the last is not released");
    assert_eq!((first.as_ptr(), first.len()), (second.as_ptr(), second.len()));
    flight.end(Ok(()));
    assert_eq!(poll(&mut one).unwrap().unwrap().unwrap(), pieces[8]);
    assert_eq!(flight.written().unwrap(), pieces.concat());
}
