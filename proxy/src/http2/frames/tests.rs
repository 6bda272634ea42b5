use proptest::prelude::*;

use super::*;

fn frame(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut bytes = (length as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(std::iter::repeat_n(0xff, length));
    bytes
}

fn header(kind: u8) -> FrameHeader {
    FrameHeader { length: 8, kind, flags: 0, stream: 1, padding: 0 }
}

proptest! {
    #[test]
    fn headers_are_found_however_the_bytes_are_split(
        frames in prop::collection::vec((0usize..300, any::<u8>(), any::<u8>(), 0u32..1 << 31), 0..20),
        cuts in prop::collection::vec(1usize..40, 1..200),
    ) {
        let mut bytes = PREFACE.to_vec();
        for &(length, kind, flags, stream) in &frames {
            bytes.extend(frame(length, kind, flags, stream));
        }
        let mut scanner = FrameScanner::after(PREFACE.len());
        let mut seen = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            scanner.scan(piece, |header| seen.push((header.length, header.kind, header.flags, header.stream)));
            rest = tail;
        }
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut counter = FrameCounter::default();
        FrameScanner::after(0).scan(&bytes, |header| { counter.count(header); });
    }
}

#[tokio::test(start_paused = true)]
async fn b11_ten_thousand_control_frames_that_nothing_pays_for_are_a_flood_however_slow_they_are_read() {
    let mut counter = FrameCounter::default();
    assert_eq!((1..=20_000).find(|_| counter.count(header(6))), Some(10_001));
    let mut counter = FrameCounter::default();
    let mut seen = 0;
    while !(0..2_000).any(|_| counter.count(header(6))) {
        // 2,000 in a second, of which it pays for a half.
        tokio::time::advance(Duration::from_secs(1)).await;
        seen += 2_000;
        assert!(seen < 40_000, "never");
    }
}

#[tokio::test(start_paused = true)]
async fn b12_control_frames_that_come_with_data_are_no_flood() {
    let mut counter = FrameCounter::default();
    for _ in 0..100_000 {
        assert!(!counter.count(header(8)));
        assert!(!counter.count(header(8)));
        assert!(!counter.count(header(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn b12_updates_for_every_hundred_bytes_of_large_data_are_no_flood() {
    let mut counter = FrameCounter::default();
    for _ in 0..10_000 {
        assert!(!counter.count(FrameHeader { length: 16_384, ..header(0) }));
        assert!(!(0..163).any(|_| counter.count(header(8))));
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_spread_over_time_are_no_flood() {
    let mut counter = FrameCounter::default();
    for _ in 0..2_000 {
        assert!(!(0..90).any(|_| counter.count(header(6))));
        tokio::time::advance(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn empty_data_counts_as_control() {
    let mut counter = FrameCounter::default();
    let empty = FrameHeader { length: 0, ..header(0) };
    assert!((0..11_000).any(|_| counter.count(empty)));
}

#[tokio::test(start_paused = true)]
async fn b11_data_of_padding_alone_is_empty_in_whatever_pieces_it_comes() {
    // Of seven bytes: how much padding there is, and most or all of what it says.
    let padded = |padding: u8| {
        let mut bytes = frame(7, 0, PADDED, 1);
        bytes[HEADER_LENGTH] = padding;
        bytes
    };
    let flooded_after = |bytes: &[u8], piece: usize| {
        let (mut scanner, mut counter) = (FrameScanner::after(0), FrameCounter::default());
        (1..=20_000).find(|_| {
            let mut flooded = false;
            bytes
                .chunks(piece)
                .for_each(|piece| scanner.scan(piece, |header| flooded |= counter.count(header)));
            flooded
        })
    };
    for piece in 1..=16 {
        assert_eq!(flooded_after(&padded(6), piece), Some(10_001), "{piece}");
        assert_eq!(flooded_after(&padded(255), piece), Some(10_001), "more padding than there is, {piece}");
        assert_eq!(flooded_after(&padded(5), piece), None, "{piece}");
    }
    // Without room for the byte that would tell.
    assert_eq!(flooded_after(&frame(0, 0, PADDED, 1), 4), Some(10_001));
}

#[tokio::test(start_paused = true)]
async fn b11_streams_opened_only_to_be_reset_are_a_flood() {
    let mut counter = ResetCounter::default();
    let flood = (0..3_000).any(|_| counter.count(header(1)) || counter.count(header(3)));
    assert!(flood);
    let mut counter = ResetCounter::default();
    let honest = (0..30_000).any(|n| counter.count(header(1)) || (n % 3 == 0 && counter.count(header(3))));
    assert!(!honest);
}

#[test]
fn a_head_is_open_until_its_last_byte() {
    let mut scanner = FrameScanner::after(0);
    let mut open = |bytes: &[u8]| {
        scanner.scan(bytes, |_| {});
        scanner.open_head()
    };
    let head = frame(5, 1, 0, 1);
    let (most, last) = head.split_at(head.len() - 1);
    assert!(open(most).is_some() && open(last).is_some(), "no END_HEADERS yet");
    assert!(open(&frame(0, 9, 0, 1)).is_some());
    assert!(open(&frame(3, 9, 4, 1)).is_none());
    assert!(open(&frame(8, 6, 0, 0)).is_none());
    assert!(open(&frame(0, 1, 4, 3)).is_none());
}

/// MATRICES B10.
#[test]
fn b10_a_head_that_follows_another_at_once_is_another_head() {
    let mut scanner = FrameScanner::after(0);
    let mut open = |bytes: &[u8]| {
        scanner.scan(bytes, |_| {});
        scanner.open_head()
    };
    let head = frame(5, 1, 4, 1);
    let (most, last) = head.split_at(head.len() - 1);
    let first = open(most);
    let second = open(&[last, most].concat());
    assert!(first.is_some() && second.is_some() && first != second, "{first:?} {second:?}");
    assert_eq!(open(&last[..0]), second);
}
