use super::*;

fn read_with(carriers: &[&str], head: &[(&str, &[u8])]) -> Keys {
    Carriers::new(carriers.iter().map(|text| text.parse().unwrap())).read(head)
}

fn baggage(value: &[u8]) -> Keys {
    read_with(&["baggage"], &[("baggage", value)])
}

/// What a value gives: keys joined by `:`, then `!` where it is malformed, `>` where it is over a limit.
fn shown(keys: &Keys) -> String {
    let marks = [(keys.malformed, "!"), (keys.over_limit, ">")];
    let marks = marks.into_iter().filter(|(on, _)| *on).map(|(_, mark)| mark);
    std::iter::once(keys.to_string().as_str()).chain(marks).collect()
}

/// MATRICES B15.
#[test]
fn the_key_is_found_in_baggage_wherever_the_grammar_allows_it() {
    for (value, expected) in [
        (&b"routing-key=pr-15"[..], "pr-15"),
        (b"a=b,routing-key=pr-15,c=d", "pr-15"),
        (b" \t routing-key \t=\t pr-15 \t , x=y", "pr-15"),
        (b"routing-key=pr-15;property;p=q,x=y", "pr-15"),
        (b"a=b=c==,routing-key=pr-15", "pr-15"),
        (b"a=1;routing-key=no,routing-key=yes", "yes"),
        (b",, ,routing-key=pr-15,,", "pr-15"),
        (b"broken,also broken,routing-key=pr-15,x=y", "pr-15"),
        (b"\xff\xfe=\xff,routing-key=pr-15,x=\xc3\xa4", "pr-15"),
        (b"routing-key=%70%72-1%35", "pr-15"),
        (b"routing-key=PR-15.a_B", "PR-15.a_B"),
        (b"xrouting-key=no", ""),
        (b"routing-keyx=no", ""),
        (b"x=routing-key=no", ""),
        (b"x routing-key=no", ""),
        (b"Routing-Key=no", ""),
        (b"x=routing-key,routing-key=a", "a"),
        (b"routing-keyrouting-key=no,routing-key=a", "a"),
        (b"", ""),
        (b"routing-key=", ""),
        (b"routing-key=;p=q", ""),
    ] {
        assert_eq!(shown(&baggage(value)), expected, "{}", value.escape_ascii());
    }
}

/// DESIGN §1.
#[test]
fn several_keys_ride_in_one_request_in_order_and_each_once() {
    for (value, expected) in [
        (&b"routing-key=a:b"[..], "a:b"),
        (b"routing-key=a%2Cb", "a:b"),
        (b"routing-key=a%2C%20b", "a:b"),
        (b"routing-key=a%3Ab::,routing-key=c:a", "a:b:c"),
        (b"routing-key=b,x=y,routing-key=a", "b:a"),
        (b"routing-key=a, b", "a!"),
        (b"routing-key=a,b", "a!"),
        (b"routing-key=a,,b;p=q", "a!"),
        (b"routing-key=a,x=y,b", "a"),
        (b"b,routing-key=a", "a"),
        (b"routing-key=a;p,b=c", "a"),
    ] {
        assert_eq!(shown(&baggage(value)), expected, "{}", value.escape_ascii());
    }
}

/// MATRICES B15 and B17.
#[test]
fn what_is_no_key_is_skipped_and_marks_the_request_malformed() {
    let long = [b"routing-key=", &[b'a'; 64][..]].concat();
    let very_long = [b"x=y,routing-key=", &[b'a'; 8_000][..]].concat();
    for (value, expected) in [
        (&b"routing-key=%zz"[..], "!"),
        (b"routing-key=%FF", "!"),
        (b"routing-key=%", "!"),
        (b"routing-key=a%C3:b", "b!"),
        (b"routing-key=a%C3%2Cb", "b!"),
        (b"routing-key=../../etc", "!"),
        (b"routing-key=a%0D%0Ax", "!"),
        (b"routing-key=a%00", "!"),
        (b"routing-key=\"a\"", "!"),
        (b"routing-key=a b", "!"),
        (b"routing-key=\xc3\xa4:ok", "ok!"),
        (b"routing-key", "!"),
        (b"routing-key;p=q", "!"),
        (b"routing-key,routing-key=a", "a!"),
        (&long, "!"),
        (&very_long, "!"),
    ] {
        assert_eq!(shown(&baggage(value)), expected, "{}", value.escape_ascii());
    }
}

/// MATRICES B15.
#[test]
fn baggage_is_examined_up_to_8192_bytes_over_all_headers_together() {
    let filler = |bytes: usize| [b"x=", &vec![b'y'; bytes - 2][..]].concat();
    let member = b",routing-key=a";
    let fits = [&filler(8_192 - member.len())[..], member].concat();
    assert_eq!((fits.len(), shown(&baggage(&fits)).as_str()), (8_192, "a"));
    let cut = [&filler(8_193 - member.len())[..], member].concat();
    assert_eq!(shown(&baggage(&cut)), ">");
    let early = [b"routing-key=a,", &filler(9_000)[..]].concat();
    assert_eq!(shown(&baggage(&early)), "a>");

    let two = |first: usize| {
        let first = filler(first);
        read_with(&["baggage"], &[("baggage", &first), ("Baggage", b"routing-key=a")])
    };
    assert_eq!(shown(&two(8_192 - 14)), "a");
    assert_eq!(shown(&two(8_192 - 13)), ">");
}

/// MATRICES B15.
#[test]
fn baggage_is_examined_up_to_64_members_over_all_headers_together() {
    let filler = |members: usize| vec!["x=y"; members].join(",");
    assert_eq!(shown(&baggage(format!("{},routing-key=a", filler(63)).as_bytes())), "a");
    assert_eq!(shown(&baggage(format!("{},routing-key=a", filler(64)).as_bytes())), ">");
    assert_eq!(shown(&baggage(format!("routing-key=a,{}", filler(64)).as_bytes())), "a>");
    let (some, more) = (filler(40), format!("{},routing-key=a", filler(24)));
    let head: &[(&str, &[u8])] = &[("baggage", some.as_bytes()), ("baggage", more.as_bytes())];
    assert_eq!(shown(&read_with(&["baggage"], head)), ">");
    let many: Vec<(&str, &[u8])> = vec![("baggage", b"x=y"); 64];
    assert_eq!(shown(&read_with(&["baggage"], &many)), "");
    let head = [&many[..], &[("baggage", &b"routing-key=a"[..])]].concat();
    assert_eq!(shown(&read_with(&["baggage"], &head)), ">");
}

/// MATRICES B15.
#[test]
fn several_baggage_headers_read_as_one_and_their_name_is_of_any_case() {
    let head: &[(&str, &[u8])] = &[
        ("Host", b"x"),
        ("BAGGAGE", b"x=y, routing-key=a"),
        ("baggages", b"routing-key=no"),
        ("bAggage", b"b"),
    ];
    assert_eq!(shown(&read_with(&["baggage"], head)), "a!", "b stands right behind the key's member");
    let head: &[(&str, &[u8])] = &[
        ("baggage", b"routing-key=a"),
        ("baggage", b" ,"),
        ("baggage", b"k=v"),
        ("baggage", b"routing-key=b"),
    ];
    assert_eq!(shown(&read_with(&["baggage"], head)), "a:b");
}

#[test]
fn a_request_names_64_keys_at_most() {
    let all: Vec<_> = (0..70).map(|n| format!("k{n}")).collect();
    let keys = baggage(format!("routing-key={}", all.join(":")).as_bytes());
    assert_eq!((keys.len(), keys.over_limit), (64, true));
    assert_eq!(keys.first(), Some("k0"));
}

#[test]
fn other_carriers_hold_the_same_lists() {
    for (carrier, field, value, expected) in [
        ("baggage=my-key", "baggage", &b"routing-key=no,my-key=a"[..], "a"),
        ("tracestate", "tracestate", b"vendor=00f067aa, routing-key=a:b", "a:b"),
        ("tracestate=bh@us", "tracestate", b"bh@us=a", ""),
        ("tracestate=bh", "tracestate", b"bh=%61", "!"),
        ("ot-baggage", "Ot-Baggage-Routing-Key", b"a%2Cb", "a:b"),
        ("ot-baggage=KEY", "ot-baggage-key", b"a", "a"),
        ("uberctx", "uberctx-routing-key", b" a , b ", "a:b"),
        ("header=X-Route", "x-rOUTE", b"a,b:c", "a:b:c"),
        ("header=x-route", "x-route", b"a;b", "!"),
        ("header=x-route", "baggage", b"routing-key=a", ""),
    ] {
        let Ok(parsed) = carrier.parse::<Carrier>() else {
            assert!(carrier.contains('@'), "{carrier}");
            continue;
        };
        let keys = Carriers::new([parsed]).read(&[(field, value)][..]);
        assert_eq!(shown(&keys), expected, "{carrier} {field}: {}", value.escape_ascii());
    }
}

struct Query(&'static str);

impl HeadView for Query {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }

    fn query(&self) -> Option<&[u8]> {
        Some(self.0.as_bytes())
    }
}

#[test]
fn a_query_parameter_holds_the_same_lists() {
    let carriers = Carriers::new(["query=route".parse().unwrap()]);
    for (query, expected) in [
        ("route=a", "a"),
        ("x=y&route=a:b&route=c", "a:b:c"),
        ("route=a%2C+b", "a:b"),
        ("routes=no&xroute=no&route", ""),
        ("route=a%26b", "!"),
        ("", ""),
    ] {
        assert_eq!(shown(&carriers.read(&Query(query))), expected, "{query}");
    }
}

#[test]
fn carriers_are_asked_in_their_order() {
    let head: &[(&str, &[u8])] = &[("baggage", b"routing-key=b"), ("x-route", b"a")];
    assert_eq!(shown(&read_with(&["header=x-route", "baggage"], head)), "a:b");
    assert_eq!(shown(&read_with(&["baggage", "header=x-route"], head)), "b:a");
}

#[test]
fn a_carrier_reads_back_as_it_is_written_and_a_wrong_one_says_what_is_allowed() {
    for text in
        ["baggage=routing-key", "tracestate=k", "ot-baggage=k", "uberctx=k", "header=x-route", "query=r"]
    {
        assert_eq!(text.parse::<Carrier>().unwrap().to_string(), text);
    }
    assert_eq!("baggage".parse::<Carrier>().unwrap().to_string(), "baggage=routing-key");
    for text in ["", "cookie=x", "Baggage"] {
        assert!(matches!(text.parse::<Carrier>(), Err(CarrierError::Kind(_))), "{text}");
    }
    for text in ["header", "query", "header=", "baggage=", "header=a b", "baggage=ä", "header=a:b"] {
        assert!(matches!(text.parse::<Carrier>(), Err(CarrierError::Name { .. })), "{text}");
    }
    let fields: Vec<_> =
        ["baggage", "query=r", "ot-baggage", "header=X-Route"].map(|c| c.parse().unwrap()).into();
    assert_eq!(
        Carriers::new(fields).fields().collect::<Vec<_>>(),
        ["baggage", "ot-baggage-routing-key", "x-route"]
    );
}

#[test]
fn other_limits_hold_where_they_are_set() {
    let few = Carriers::default().with_limits(64, 2);
    let shown = |value: &str| few.read(&[("baggage", value)][..]).over_limit;
    assert!(!shown("a=1,routing-key=b"));
    assert!(shown("a=1,b=2,routing-key=c"));
    let long = format!("a={},routing-key=b", "x".repeat(60));
    assert!(shown(&long));
    assert!(!few.with_limits(100, 2).read(&[("baggage", long.as_str())][..]).over_limit);
}
