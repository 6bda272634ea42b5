use crate::detect::settings::{
    ServerFirst::{self, Opaque, Settings, Undecided},
    classify,
};

#[test]
fn a_settings_frame_is_held_back_and_a_banner_is_not() {
    let table: [(&[u8], ServerFirst); 12] = [
        (b"", Undecided),
        (b"\0\0\x12\x04\0\0\0\0", Undecided),
        (b"\0\0\x12\x04\0\0\0\0\0", Settings),
        (b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x08", Settings),
        (b"\0\0\x12\x04\x01\0\0\0\0", Opaque), // an acknowledgement
        (b"\0\0\x12\x04\0\0\0\0\x01", Opaque), // on a stream
        (b"\0\0\x07\x04\0\0\0\0\0", Opaque),   // no whole settings
        (b"\0\xff\xff\x04\0\0\0\0\0", Opaque), // longer than anybody may
        (b"J\0\0\0\n8.0.36\0", Opaque),        // MySQL
        (b"220 mail ESMTP\r\n", Opaque),
        (b"S", Opaque),
        (b"\0\0\x12\x05", Opaque),
    ];
    for (bytes, wanted) in table {
        assert_eq!(classify(bytes), wanted, "{}", bytes.escape_ascii());
    }
}
