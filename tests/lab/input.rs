//! Odd baggage through a real proxy: rows B15, B16 and B17.

use anyhow::{Context as _, Result, ensure};
use bellhop_e2e::client;
use libtest_mimic::Trial;

use crate::{apart, stage::Stage};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("b15_odd_baggage_is_forwarded_byte_for_byte_and_its_key_is_found", odd_baggage),
        apart("b16_a_million_unknown_keys_leave_no_trace", million_keys),
        apart("b17_a_crafted_key_meets_the_baseline_and_stays_out_of_the_log", crafted_keys),
    ]
}

/// B15: what is sent, and who answers.
fn odd_baggage() -> Result<()> {
    let stage = Stage::set(&[])?;
    let members = |n: usize| (0..n).map(|n| format!("m{n}=v")).collect::<Vec<_>>().join(",");
    let last_of_64 = format!("{},routing-key=pr", members(63));
    let last_of_65 = format!("{},routing-key=pr", members(64));
    let long = format!("routing-key=pr,filler={}", "x".repeat(9_000));
    let too_long = format!("filler={},routing-key=pr", "x".repeat(9_000));
    // Who answers, and, where it is the baseline, the reason that is counted.
    let cases: [(&[&str], &str); 17] = [
        (&["routing-key=pr"], "pr"),
        (&["a=1", "routing-key=pr", "b=2"], "pr"),
        (&[" \t routing-key \t=\t pr ;p=1;q , a=1"], "pr"),
        (&["a=b=c==,routing-key=pr"], "pr"),
        (&["routing-key=%70%72"], "pr"),
        (&["routing-key=nobody:pr"], "pr"),
        (&["routing-key=nobody%2Cpr"], "pr"),
        (&[",,, ,routing-key=pr,,"], "pr"),
        (&["a=%zz,routing-key=pr,b=%FF"], "pr"),
        (&["a=\u{e4}\u{f6},routing-key=pr"], "pr"),
        (&["routing-key=%zz"], "malformed"),
        (&["routing-key=%FF"], "malformed"),
        (&["Routing-Key=pr"], "no-key"),
        (&[&last_of_64], "pr"),
        (&[&last_of_65], "over-limit"),
        (&[&long], "pr"),
        (&[&too_long], "over-limit"),
    ];
    for (fields, expected) in cases {
        let mut request = b"GET / HTTP/1.1\r\nHost: callee\r\nConnection: close\r\n".to_vec();
        for field in fields {
            request.extend([b"baggage: ", field.as_bytes(), b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        let ask = || client::raw(stage.host("caller"), stage.baseline.v4(), &request);
        let (version, (answer, _)) = match expected {
            "pr" => ("pr", ask()?),
            reason => ("baseline", stage.proxy.counts(reason, ask)?),
        };
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let body = answer.split("\r\n\r\n").nth(1).with_context(|| format!("{fields:?}: {answer}"))?;
        let body: serde_json::Value =
            serde_json::from_str(body).with_context(|| format!("{fields:?}: {answer}"))?;
        ensure!(body["version"] == version, "{fields:?} met {body}");
        let arrived: Vec<_> = body["headers"].as_array().into_iter().flatten().collect();
        let arrived: Vec<_> =
            arrived.iter().filter(|field| field[0] == "baggage").map(|field| &field[1]).collect();
        // The server shows one byte as one character, and its parser takes off white space around a value.
        let sent: Vec<String> =
            fields.iter().map(|field| field.trim().bytes().map(char::from).collect()).collect();
        ensure!(arrived == sent.iter().collect::<Vec<_>>(), "{fields:?} arrived as {arrived:?}");
    }
    Ok(())
}

/// B16: a thousand requests with a thousand different keys each.
fn million_keys() -> Result<()> {
    let stage = Stage::set(&[])?;
    let ask = |requests: std::ops::Range<u32>| {
        client::block_on(stage.host("caller"), async || {
            let mut sender = client::connect(stage.baseline.v4()).await?;
            for request in requests {
                let keys: Vec<_> = (0..1_000).map(|key| format!("{:x}", request * 1_000 + key)).collect();
                let baggage = format!("routing-key={}", keys.join(":"));
                let request = client::request(stage.baseline.v4(), "/", &[("baggage", &baggage)])?;
                let reply = client::whole(sender.send_request(request).await?).await?;
                ensure!(reply.version()? == "baseline", "{reply:?}");
                sender.ready().await?;
            }
            Ok(())
        })
    };
    // The first have every buffer and every series made that there will be.
    ask(0..50)?;
    let (series, memory) = (stage.proxy.series()?, stage.proxy.resident_kib()?);
    ask(50..1_000)?;
    ensure!(stage.proxy.series()? == series, "{series} series became {}", stage.proxy.series()?);
    let now = stage.proxy.resident_kib()?;
    ensure!(now < memory + 2_048, "{memory} KiB became {now} KiB");
    Ok(())
}

/// B17.
fn crafted_keys() -> Result<()> {
    let stage = Stage::set(&["--access-log", "all"])?;
    let huge = "k".repeat(10_000);
    for (key, reason) in [
        ("../../etc/passwd", "malformed"),
        ("%0d%0aX-Evil:%201", "malformed"),
        ("a%0A{\"level\":\"fatal\"}", "malformed"),
        ("%1b[2Jcleared", "malformed"),
        (&*huge, "over-limit"),
    ] {
        let reply = stage.proxy.counts(reason, || stage.call(key))?;
        ensure!(reply.version()? == "baseline", "{key}: {reply:?}");
        ensure!(!reply.headers.contains_key("x-evil"), "{key}: {reply:?}");
    }
    ensure!(stage.call("pr")?.version()? == "pr", "the proxy does not route any more");
    let log = bellhop_e2e::wait::until("the access log", client::LIMIT, || {
        let log = stage.proxy.log();
        ensure!(log.contains("\"pr\""), "it does not have the last request: {log}");
        Ok(log)
    })?;
    for crafted in ["etc/passwd", "X-Evil", "fatal", "\u{1b}[2J", "kkkkkkkk"] {
        let line = log.lines().find(|line| line.contains(crafted));
        ensure!(line.is_none(), "{crafted} is in the log: {line:?}");
    }
    Ok(())
}
