//! Requests of plugins: answered whole, under the rules of the plugin's grant.

use std::time::Duration;

use bytes::Bytes;
use plugin::grant::FetchRules;
use plugin::host::{Fetcher, Request, Response};
use plugin::{BoxFuture, Error, Header, code};
use reqwest::Method;
use reqwest::header::HeaderMap;
use url::Url;

use crate::client::{check_url, fields, redirect_of};
use crate::origin::host_of;
use crate::redirect::{Trail, method_after, without_body};
use crate::{Client, error};

/// Redirects that a plugin may ask for (`mediahost:host/fetch-types`, record `request`).
const MAX_REDIRECTS: u8 = 10;

/// Sends requests for plugins with a client that others may use too.
#[derive(Clone)]
pub struct PluginFetcher {
    client: Client,
}

impl PluginFetcher {
    /// A fetcher over this client.
    pub fn new(client: Client) -> PluginFetcher {
        PluginFetcher { client }
    }
}

impl Fetcher for PluginFetcher {
    fn send(&self, request: Request, rules: FetchRules) -> BoxFuture<'static, Result<Response, Error>> {
        let client = self.client.clone();
        Box::pin(async move {
            let limit_ms = request.timeout_ms;
            match tokio::time::timeout(Duration::from_millis(limit_ms), send(&client, request, &rules)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::new(code::TIMEOUT, format!("the request took longer than {limit_ms} ms"))),
            }
        })
    }
}

async fn send(client: &Client, request: Request, rules: &FetchRules) -> Result<Response, Error> {
    let url = Url::parse(&request.url)
        .map_err(|error| Error::new(code::BAD_ADDRESS, format!("the address is not a URL: {error}")))?;
    let mut method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| Error::new(code::BAD_ADDRESS, "the method is not one of HTTP"))?;
    let mut headers = fields(&request.headers).map_err(answer)?;
    let mut body = request.body.map(Bytes::from);
    let most = request.max_redirects.min(MAX_REDIRECTS);
    let mut trail = Trail::new(url, most);
    loop {
        let url = trail.here().clone();
        check_url(&url).map_err(answer)?;
        allowed(rules, &method, &url)?;
        let response = client.exchange(method.clone(), &url, &headers, body.clone(), rules.private).await;
        let response = response.map_err(answer)?;
        let Some(location) = redirect_of(&response).filter(|_| most > 0) else {
            return whole(response, &url, request.max_bytes).await;
        };
        let (next, keeps_body) = method_after(response.status().as_u16(), &method);
        method = next;
        if !keeps_body {
            body = None;
            without_body(&mut headers);
        }
        trail.follow(&location, &mut headers).map_err(answer)?;
    }
}

/// The grant, asked for each hop.
fn allowed(rules: &FetchRules, method: &Method, url: &Url) -> Result<(), Error> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if !rules.allows_host(host) {
        return Err(Error::new(code::REFUSED, format!("requests to {host} are not granted to this plugin")));
    }
    // CONNECT makes a tunnel, which is nothing that a buffered request could use.
    if !rules.allows_method(method.as_str()) || *method == Method::CONNECT {
        return Err(Error::new(code::REFUSED, format!("the method {method} is not granted to this plugin")));
    }
    Ok(())
}

/// Reads the body to its end, or up to the limit.
async fn whole(mut response: reqwest::Response, url: &Url, max_bytes: u64) -> Result<Response, Error> {
    let too_large =
        || Error::new(code::TOO_LARGE, format!("the answer of {} is larger than {max_bytes} bytes", host_of(url)));
    // The length of an answer to HEAD is that of a body that does not come.
    let mut body = Vec::new();
    while let Some(bytes) =
        response.chunk().await.map_err(|error| answer(error::Error::of(&error, url, Duration::ZERO)))?
    {
        if body.len() as u64 + bytes.len() as u64 > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&bytes);
    }
    let status = response.status().as_u16();
    Ok(Response { status, url: url.to_string(), headers: plain(response.headers()), body })
}

fn plain(headers: &HeaderMap) -> Vec<Header> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| Header { name: name.to_string(), value: text(value.as_bytes()) }).collect()
}

/// Our errors in the words of the contract.
fn answer(error: error::Error) -> Error {
    use error::Error::*;
    let code = match error {
        Private { .. } | BadRedirect { .. } => code::REFUSED,
        BadUrl { .. } | BadHeader { .. } | EmptyRange => code::BAD_ADDRESS,
        ConnectTimeout { .. } | IdleTimeout { .. } => code::TIMEOUT,
        Setup { .. } => code::INTERNAL,
        Dns { .. }
        | Refused { .. }
        | Connect { .. }
        | Tls { .. }
        | Reset { .. }
        | Early { .. }
        | Protocol { .. }
        | RedirectLoop { .. }
        | TooManyRedirects { .. } => code::UNAVAILABLE,
    };
    Error::new(code, error.to_string())
}
