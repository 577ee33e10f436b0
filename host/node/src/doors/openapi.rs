//! The document that describes the API.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use web::http::header;
use web::response::IntoResponse;
use web::routing::get;
use web::{Problem, Router};

use super::{access, health, plugins, settings};

#[derive(OpenApi)]
#[openapi(
    info(title = "mediahost", description = "Brings media in from anywhere, keeps it, and hands it to people."),
    paths(
        access::make_link,
        health::healthz,
        health::readyz,
        health::metrics,
        plugins::list,
        plugins::one,
        plugins::upload,
        plugins::remove,
        plugins::enable,
        plugins::disable,
        plugins::reload,
        plugins::events,
        settings::reload,
    ),
    components(schemas(Problem)),
    security(("token" = []), ("cookie" = [])),
    modifiers(&Schemes)
)]
struct Own;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The admin token.")).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description("mediahost_<host>", "Set by a one-time link.");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The whole document: this module's routes and those of the services.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Own::openapi();
    document.merge(proxy::routes::OpenApi::openapi());
    document
}

/// Routes at the root, open so that tools can read them.
pub fn open() -> Router {
    let text = document().to_json().expect("the document is made of strings and lists");
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], text.clone()).into_response();
    Router::new().route("/api/v1/openapi.json", get(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public surface, so that a change of it shows up as a difference in review. `UPDATE=1 cargo test` writes it.
    #[test]
    fn the_document_is_the_one_in_the_repository() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == kept, "the API changed: look at it, then run this test with UPDATE=1");
    }

    #[test]
    fn the_schema_of_a_plugin_has_the_fields_of_one() {
        let status = wasm::Status {
            id: "x".into(),
            version: Some("1".into()),
            kind: Some(plugin::Kind::MediaSource),
            generation: 1,
            sha256: Some("0".into()),
            state: wasm::State::Serving,
            origin: wasm::Origin::Bundled,
            summary: "s".into(),
            schemes: vec![],
            priority: 0,
            grants: vec![],
            waiting: Some("2".into()),
            error: Some("e".into()),
        };
        let written = serde_json::to_value(status).unwrap();
        let document = serde_json::to_value(document()).unwrap();
        let described = &document["components"]["schemas"]["Plugin"]["properties"];
        let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (mut written, mut described) = (names(&written), names(described));
        written.sort();
        described.sort();
        assert_eq!(written, described);
    }
}
