use super::*;
use crate::corpus::mutated;

#[test]
fn hyper_reads_the_requests_that_go_on_as_the_relay_does() {
    mutated("http1_requests", 300, requests);
}

#[test]
fn hyper_reads_the_answers_that_go_on_as_the_relay_does() {
    mutated("http1_answers", 300, answers);
}

#[test]
fn the_oracle_sees_requests_and_bodies() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let (read, _) = relay_requests(bytes, 1);
    assert_eq!(read, [("POST /a".to_owned(), b"abc".to_vec()), ("GET /b".to_owned(), Vec::new())]);
    assert_eq!(run(hyper_requests(bytes.to_vec())), read);
}
