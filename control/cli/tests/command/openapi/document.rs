//! The OpenAPI document, and what it says of a request.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};

use super::recorder::Sent;

pub(super) struct Document(Value);

impl Document {
    /// As control serves it.
    pub(super) fn of(control: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(control).unwrap();
        stream.write_all(b"GET /openapi.json HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Self(serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
    }

    /// Finds a request in the document, which must describe all of it. Gives its method, its path as the document has it,
    /// and the names of its query's parameters.
    pub(super) fn look_up(&self, sent: &Sent) -> String {
        let Sent { method, uri, headers, body } = sent;
        let (path, item) = self.path(uri.path()).unwrap_or_else(|| panic!("{method} {uri}: no such path"));
        let operation = item.get(method.as_str().to_lowercase());
        let operation = operation.unwrap_or_else(|| panic!("{method} {uri}: no such method"));
        let declared: Vec<_> = [operation, item]
            .into_iter()
            .filter_map(|of| of["parameters"].as_array())
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .collect();
        let mut names = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let parameter = declared.iter().find(|parameter| parameter["name"] == *name);
            let parameter = parameter.unwrap_or_else(|| panic!("{method} {uri}: no such parameter {name}"));
            let schema = &parameter["schema"];
            // a list is a parameter that is repeated
            let schema = if schema["type"] == "array" { &schema["items"] } else { schema };
            let text = schema["type"] == "string";
            let value =
                if text { json!(value) } else { serde_json::from_str(&value).unwrap_or(json!(value)) };
            self.check(schema, &value, &format!("{method} {uri}: {name}"));
            names.insert(name.into_owned());
        }
        for parameter in declared.iter().filter(|parameter| parameter["required"] == true) {
            let name = parameter["name"].as_str().unwrap();
            assert!(names.contains(name), "{method} {uri}: {name} is missing");
        }
        match operation.pointer("/requestBody/content") {
            Some(content) => {
                let kind = headers["content-type"].to_str().unwrap();
                let schema = &content[kind]["schema"];
                assert!(schema.is_object(), "{method} {uri}: a body may not be {kind}");
                self.check(schema, &serde_json::from_slice(body).unwrap(), &format!("{method} {uri}"));
            }
            None => assert!(body.is_empty(), "{method} {uri}: there may be no body"),
        }
        let names: Vec<_> = names.into_iter().collect();
        let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
        format!("{method} {path}{query}")
    }

    /// A path of the document, in which `{…}` stands for any one segment.
    fn path(&self, path: &str) -> Option<(&String, &Value)> {
        let fits = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(path).all(|(each, given)| each.starts_with('{') || *each == given)
        };
        self.0["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template))
    }

    /// Holds a value against a schema of the document.
    fn check(&self, schema: &Value, value: &Value, at: &str) {
        let schema = json!({ "allOf": [schema], "components": self.0["components"] });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let faults: Vec<_> = validator.iter_errors(value).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{at}: {}\n{value}", faults.join("; "));
    }
}
