use super::*;

const SANDBOX: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: Sandbox
metadata: {name: pr-15, labels: {team: a}}
spec:
  ttl: 4h
  overrides:
  - service: route
    port: 8080
    endpoints: ['10.0.0.7:8080']
";

fn one(text: &str) -> Result<Manifest, ReadError> {
    let mut all = read_documents(text, "default");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn faults(text: &str) -> Vec<(String, Option<String>)> {
    match one(text).expect_err(text) {
        ReadError::Invalid { source, .. } => source.errors.into_iter().map(|e| (e.field, e.value)).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_manifest_reads_back_as_it_is_written() {
    let manifest = one(SANDBOX).unwrap();
    assert_eq!(manifest.kind(), Kind::Sandbox);
    assert_eq!(manifest.metadata().namespace, "default");
    let json = serde_json::to_value(&manifest).unwrap();
    assert_eq!(Manifest::from_value(json).unwrap(), manifest);
    let yaml = serde_norway::to_string(&manifest).unwrap();
    assert_eq!(one(&yaml).unwrap(), manifest);
}

#[test]
fn b18_an_unknown_field_is_refused_with_its_path() {
    let text = SANDBOX.replace("port: 8080", "prot: 8080");
    let error = one(&text).unwrap_err().to_string();
    assert!(error.contains("spec.overrides[0].prot") && error.contains("unknown field"), "{error}");
    let error = one(&SANDBOX.replace("metadata: {", "metadata: {nmae: x, ")).unwrap_err().to_string();
    assert!(error.contains("metadata.nmae"), "{error}");
}

#[test]
fn b18_a_field_that_stands_twice_is_refused() {
    let error = one(&SANDBOX.replace("ttl: 4h", "ttl: 4h\n  ttl: 5h")).unwrap_err().to_string();
    assert!(error.contains("\"ttl\" stands twice"), "{error}");
}

#[test]
fn a_wrong_type_is_refused_with_path_value_and_what_is_allowed() {
    let text = format!("{SANDBOX}    fallback: maybe\n");
    let error = one(&text).unwrap_err().to_string();
    assert!(
        error.contains("spec.overrides[0].fallback") && error.contains("`none` or `baseline`"),
        "{error}"
    );
    assert_eq!(
        faults(&SANDBOX.replace("port: 8080", "port: 70000")),
        [("spec.overrides[0].port".into(), Some("70000".into()))]
    );
}

#[test]
fn b18_all_faults_of_a_manifest_are_told_at_once() {
    let text = "
apiVersion: v1
kind: Sandbox
metadata: {name: PR_15}
spec:
  routingKey: a/b
  ttl: forever
  overrides:
  - {service: route, port: 0, endpoints: ['169.254.169.254:80', 'x:y']}
  - {service: route.default, endpoints: []}
";
    let fields: Vec<_> = faults(text).into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        [
            "apiVersion",
            "metadata.name",
            "spec.routingKey",
            "spec.ttl",
            "spec.overrides[0].port",
            "spec.overrides[0].endpoints[0]",
            "spec.overrides[0].endpoints[1]",
            "spec.overrides[1].endpoints",
            "spec.overrides[1].service",
        ]
    );
}

#[test]
fn b18_one_destination_overridden_twice_is_refused_however_it_is_written() {
    for (a, b) in [("route, port: 1", "route.default, port: 1"), ("route", "route, port: 1"), ("a.b", "a.b")]
    {
        let text = format!(
            "{{apiVersion: bellhop.dev/v1alpha1, kind: Sandbox, metadata: {{name: x}}, spec: {{overrides: [
              {{service: {a}, endpoints: [a]}}, {{service: {b}, endpoints: [a]}}]}}}}"
        );
        assert_eq!(faults(&text).first().map(|f| f.0.as_str()), Some("spec.overrides[1].service"), "{a} {b}");
    }
}

#[test]
fn a_default_key_that_would_be_too_long_must_be_given() {
    let name = "n".repeat(60);
    let text = SANDBOX.replace("name: pr-15", &format!("name: {name}, namespace: shop"));
    assert_eq!(faults(&text), [("spec.routingKey".into(), None)]);
    assert!(one(&SANDBOX.replace("name: pr-15", &format!("name: {name}"))).is_ok());
}

#[test]
fn a_group_needs_members_or_a_selector_that_says_something() {
    let group = |spec: &str| {
        one(&format!(
            "{{apiVersion: bellhop.dev/v1alpha1, kind: SandboxGroup, metadata: {{name: g}}, spec: {spec}}}"
        ))
    };
    assert!(group("{sandboxes: [a, shop/b]}").is_ok());
    assert!(group("{selector: {matchLabels: {team: a}}, namespaces: ['*']}").is_ok());
    assert!(group("{selector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}").is_ok());
    for bad in [
        "{}",
        "{selector: {}}",
        "{sandboxes: [a/b/c]}",
        "{sandboxes: [a], namespaces: [b]}",
        "{selector: {matchExpressions: [{key: a, operator: In}]}}",
        "{selector: {matchExpressions: [{key: a, operator: Like}]}}",
    ] {
        assert!(group(bad).is_err(), "{bad}");
    }
}

#[test]
fn several_documents_and_lists_are_read_in_order_and_each_fault_names_its_document() {
    let list = "{kind: List, items: [{kind: Nothing}]}";
    let all =
        read_documents(&format!("---\n{SANDBOX}\n---\n# empty\n---\n{list}\n---\n{SANDBOX}"), "default");
    assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(matches!(read_documents("", "default").as_slice(), [Err(ReadError::Empty)]));
    assert!(matches!(read_documents("a: [", "default").as_slice(), [Err(ReadError::Syntax { .. })]));
}

#[test]
fn an_object_without_a_namespace_is_in_the_given_one() {
    let all = read_documents(SANDBOX, "team-a");
    assert_eq!(all[0].as_ref().unwrap().metadata().namespace, "team-a");
    let all = read_documents(&SANDBOX.replace("name: pr-15", "name: pr-15, namespace: team-b"), "team-a");
    assert_eq!(all[0].as_ref().unwrap().metadata().namespace, "team-b");
}
