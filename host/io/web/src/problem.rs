//! Errors as RFC 9457 problem details, and the two that a router makes itself.

use std::borrow::Cow;

use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An answer that says what is wrong (RFC 9457 §3). `type` is left out, which means `about:blank`; programs decide on
/// `code`.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// The status code, also in the body so that it survives proxies and logs.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, example = 404)]
    pub status: StatusCode,
    /// A stable word in lower case with hyphens.
    #[schema(value_type = String, example = "session-unknown")]
    pub code: Cow<'static, str>,
    /// The same words for every problem of this code.
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// A sentence for people about this very case. It holds no secrets.
    pub detail: String,
    /// Further members, beside the others.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub extra: Map<String, Value>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem whose title is the reason phrase of its status.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Problem {
        let title = Cow::Borrowed(status.canonical_reason().unwrap_or("Error"));
        Problem { status, code: code.into(), title, detail: detail.into(), extra: Map::new() }
    }

    /// The same with a title of its own.
    pub fn titled(mut self, title: impl Into<Cow<'static, str>>) -> Problem {
        self.title = title.into();
        self
    }

    /// The same with one more member.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Problem {
        self.extra.insert(key.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The fields are strings, numbers and JSON values; writing those as JSON cannot fail.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (self.status, headers, body).into_response()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        let (code, detail) = match &rejection {
            // The words of serde_path_to_error begin with the place in the document.
            JsonRejection::JsonDataError(error) => {
                ("body-invalid", format!("The body does not fit: {}.", cause(error)))
            }
            JsonRejection::JsonSyntaxError(error) => {
                ("body-not-json", format!("The body is not JSON: {}.", cause(error)))
            }
            JsonRejection::MissingJsonContentType(_) => {
                ("body-not-json", "The request must say `Content-Type: application/json`.".to_owned())
            }
            JsonRejection::BytesRejection(_) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                ("body-too-large", "The body is larger than this route accepts.".to_owned())
            }
            _ => ("body-unreadable", "The body could not be read to its end.".to_owned()),
        };
        // 422 is what axum gives for JSON of the wrong shape; for a client it is the same mistake as bad JSON.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Problem::new(status, code, detail)
    }
}

/// The innermost cause, which is the sentence that names line, column or field.
fn cause(error: &dyn std::error::Error) -> String {
    let outer: &dyn std::error::Error = error;
    outer.source().map_or_else(|| outer.to_string(), |source| source.to_string())
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::new(rejection.status(), "query-invalid", format!("The query does not fit: {}.", cause(&rejection)))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::new(rejection.status(), "path-invalid", format!("The path does not fit: {}.", rejection.body_text()))
    }
}

/// The same routes, with problems where no route or no method fits.
pub fn fallbacks(routes: Router) -> Router {
    routes.fallback(no_route).method_not_allowed_fallback(no_method)
}

async fn no_route(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "route-unknown", format!("There is nothing at {}.", uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; the field Allow says what it takes.", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
