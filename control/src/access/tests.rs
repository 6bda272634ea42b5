use bellhop_api::access::TokenInfo;
use jiff::SignedDuration;

use super::{
    review::{Reviewed, StaticReview},
    token::{StoredToken, fresh_token},
    *,
};

fn peer(identity: Option<Identity>) -> Peer {
    Peer { address: ([192, 0, 2, 1], 40_000).into(), identity: identity.map(Arc::new) }
}

fn headers(authorization: &[&str]) -> HeaderMap {
    authorization.iter().map(|text| (header::AUTHORIZATION, text.parse().unwrap())).collect()
}

/// Stores a token that is good for an hour from `now`.
fn store(tokens: &Tokens, id: &str, role: Role, namespaces: &[&str], now: Timestamp) -> Secret {
    let token = fresh_token().unwrap();
    let info = TokenInfo {
        id: id.into(),
        role,
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        description: String::new(),
        created_by: "test".into(),
        created_at: now,
        expires_at: now + SignedDuration::from_hours(1),
    };
    let value = StoredToken::new(&token, info).value();
    assert!(tokens.take_in(&format!("token/{id}"), Some(&value), 1));
    token
}

async fn ask(
    access: &Access,
    tokens: &Tokens,
    authorization: &[&str],
    now: Timestamp,
) -> Result<String, u16> {
    let found = access.authenticate(tokens, &headers(authorization), &peer(None), now).await;
    found.map(|caller| caller.name).map_err(|problem| problem.status)
}

#[tokio::test]
async fn b18_no_expired_revoked_or_foreign_token_opens_anything() {
    let (access, tokens, now) = (Access::new(false, Vec::new(), None), Tokens::default(), Timestamp::now());
    let token = store(&tokens, "a", Role::Proxy, &[], now);
    let good = format!("Bearer {}", token.reveal());
    assert_eq!(ask(&access, &tokens, &[&good], now).await, Ok("token:a".into()));
    assert_eq!(ask(&access, &tokens, &[&good.replace("Bearer", "bEARER")], now).await, Ok("token:a".into()));
    let later = now + SignedDuration::from_hours(1);
    assert_eq!(ask(&access, &tokens, &[&good], later).await, Err(401), "expired");
    let foreign = format!("Bearer {}", fresh_token().unwrap().reveal());
    for wrong in [
        &[][..],
        &[foreign.as_str()],
        &[good.strip_suffix(char::is_alphanumeric).unwrap_or("Bearer x")],
        &["Bearer "],
        &["Basic YTpi"],
        &[token.reveal()],
        &[&good, &good],
    ] {
        assert_eq!(ask(&access, &tokens, wrong, now).await, Err(401), "{wrong:?}");
    }
    tokens.take_in("token/a", None, 2);
    assert_eq!(ask(&access, &tokens, &[&good], now).await, Err(401), "revoked");
}

#[tokio::test]
async fn where_nobody_is_asked_a_token_that_is_shown_must_be_good_nevertheless() {
    let (access, tokens, now) = (Access::new(true, Vec::new(), None), Tokens::default(), Timestamp::now());
    assert_eq!(ask(&access, &tokens, &[], now).await, Ok("anonymous".into()));
    assert_eq!(ask(&access, &tokens, &["Bearer bh_x"], now).await, Err(401));
    let token = store(&tokens, "a", Role::Proxy, &[], now);
    let good = format!("Bearer {}", token.reveal());
    let found = access.authenticate(&tokens, &headers(&[&good]), &peer(None), now).await.unwrap();
    assert_eq!(found.role, Role::Proxy, "it is taken at its word");
}

#[tokio::test]
async fn tokens_of_others_go_to_the_reviewer_and_our_own_never_do() {
    let user = Reviewed { user: "sa:shop:ci".into(), role: Role::Developer, namespaces: vec!["shop".into()] };
    let review = StaticReview(vec![("theirs", user.clone()), ("bh_stolen", user)]);
    let access = Access::new(false, Vec::new(), Some(Arc::new(review)));
    let (tokens, now) = (Tokens::default(), Timestamp::now());
    assert_eq!(ask(&access, &tokens, &["Bearer theirs"], now).await, Ok("review:sa:shop:ci".into()));
    assert_eq!(ask(&access, &tokens, &["Bearer other"], now).await, Err(401));
    assert_eq!(ask(&access, &tokens, &["Bearer unjudged"], now).await, Err(503));
    assert_eq!(ask(&access, &tokens, &["Bearer bh_stolen"], now).await, Err(401));
}

#[tokio::test]
async fn a_certificate_has_the_role_of_the_first_rule_that_knows_one_of_its_names() {
    let rules = ["spiffe://example.org/ns/*/sa/proxy=proxy", "cn:alice=developer:shop"];
    let rules = rules.map(|rule| rule.parse().unwrap()).to_vec();
    let (access, tokens, now) = (Access::new(false, rules, None), Tokens::default(), Timestamp::now());
    let until = now + SignedDuration::from_hours(1);
    let ask = async |names: &[&str], at| {
        let identity = Identity { names: names.iter().map(|name| (*name).to_owned()).collect(), until };
        let found = access.authenticate(&tokens, &HeaderMap::new(), &peer(Some(identity)), at).await;
        found.map(|caller| (caller.name, caller.role)).map_err(|problem| problem.status)
    };
    let proxy = "spiffe://example.org/ns/shop/sa/proxy";
    assert_eq!(ask(&[proxy, "cn:alice"], now).await, Ok((format!("certificate:{proxy}"), Role::Proxy)));
    assert_eq!(ask(&["cn:alice"], now).await, Ok(("certificate:cn:alice".into(), Role::Developer)));
    assert_eq!(ask(&["cn:bob"], now).await, Err(403), "it is known who that is, and that one may nothing");
    assert_eq!(ask(&["cn:alice"], until).await, Err(401), "it was good when the connection began");
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_address_are_limited_and_a_good_token_from_there_is_not() {
    let (access, tokens, now) = (Access::new(false, Vec::new(), None), Tokens::default(), Timestamp::now());
    let good = format!("Bearer {}", store(&tokens, "a", Role::Proxy, &[], now).reveal());
    for _ in 0..200 {
        assert_eq!(ask(&access, &tokens, &["Bearer bh_guess"], now).await, Err(401));
    }
    assert_eq!(ask(&access, &tokens, &["Bearer bh_guess"], now).await, Err(429));
    assert!(ask(&access, &tokens, &[&good], now).await.is_ok());
    let elsewhere = Peer { address: ([192, 0, 2, 2], 1).into(), identity: None };
    let other = access.authenticate(&tokens, &HeaderMap::new(), &elsewhere, now).await;
    assert_eq!(other.unwrap_err().status, 401);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&access, &tokens, &["Bearer bh_guess"], now).await, Err(401));
}

#[test]
fn each_role_may_what_its_name_says_and_what_nobody_thought_of_needs_an_admin() {
    let caller = |role, namespaces: &[&str]| Caller {
        role,
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        ..Caller::anonymous()
    };
    let object = Some("/v1/namespaces/{namespace}/{kind}/{name}");
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
    let may = |who: &Caller, method: &Method, matched, path| who.may(need(method, matched, path)).is_ok();
    let (proxy, developer, admin) =
        (caller(Role::Proxy, &[]), caller(Role::Developer, &["shop"]), caller(Role::Admin, &[]));
    for (method, matched, path, allowed) in [
        (&get, Some("/v1/routes"), "/v1/routes", [true, true, true]),
        (&post, Some("/v1/proxies/{id}"), "/v1/proxies/p1", [true, false, true]),
        (&get, Some("/v1/proxies"), "/v1/proxies", [false, true, true]),
        (&get, Some("/v1/{kind}"), "/v1/sandboxes", [false, true, true]),
        (&get, object, "/v1/namespaces/pay/sandboxes/a", [false, true, true]),
        (&put, object, "/v1/namespaces/shop/sandboxes/a", [false, true, true]),
        (&put, object, "/v1/namespaces/pay/sandboxes/a", [false, false, true]),
        (&put, object, "/v1/namespaces/sh%6Fp/sandboxes/a", [false, false, true]),
        (&put, object, "/v1/namespaces/*/sandboxes/a", [false, false, true]),
        (&get, Some("/v1/tokens"), "/v1/tokens", [false, false, true]),
        (&post, Some("/v1/tokens"), "/v1/tokens", [false, false, true]),
        (&get, Some("/v1/whoami"), "/v1/whoami", [true, true, true]),
        (&get, Some("/v1/backup"), "/v1/backup", [false, false, true]),
        (&get, Some("/v1/something/new"), "/v1/something/new", [false, false, true]),
        (&post, Some("/v1/something/new"), "/v1/something/new", [false, false, true]),
        (&get, Some("/livez"), "/livez", [true, true, true]),
        (&get, Some("/metrics"), "/metrics", [false, true, true]),
        (&post, Some("/metrics"), "/metrics", [false, false, true]),
    ] {
        let found = [&proxy, &developer, &admin].map(|who| may(who, method, matched, path));
        assert_eq!(found, allowed, "{method} {path}");
    }
    assert!(may(&caller(Role::Developer, &["*"]), &put, object, "/v1/namespaces/pay/sandboxes/a"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_ends_with_its_token_and_when_that_is_revoked() {
    let (access, tokens) = (Access::new(false, Vec::new(), None), Tokens::default());
    let clock = Clock::tokio();
    let good = format!("Bearer {}", store(&tokens, "a", Role::Proxy, &[], clock.now()).reveal());
    let caller =
        async || access.authenticate(&tokens, &headers(&[&good]), &peer(None), clock.now()).await.unwrap();
    let begun = tokio::time::Instant::now();
    caller().await.ended(clock).await;
    assert_eq!(begun.elapsed().as_secs(), 3_600);
    let good = format!("Bearer {}", store(&tokens, "a", Role::Proxy, &[], clock.now()).reveal());
    let caller = access.authenticate(&tokens, &headers(&[&good]), &peer(None), clock.now()).await.unwrap();
    let begun = tokio::time::Instant::now();
    let revoke = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        tokens.take_in("token/a", None, 3);
    };
    tokio::join!(caller.ended(clock), revoke);
    assert_eq!(begun.elapsed().as_secs(), 60);
}
