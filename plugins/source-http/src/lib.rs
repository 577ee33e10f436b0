//! Any file on an HTTP or HTTPS server.
//!
//! Owns: reading the address (RFC 3986), credentials in it, which header fields may go with it, a file name for people,
//! and what is known about signed links: which parameters are the signature and when it stops working.
//! Leaves to the host: everything that touches the network. This plugin asks for nothing but the time of day.
//!
//! Invariant: neither the URL nor the key of a plan holds a user name or a password; they travel in `Authorization`.

mod address;
mod encoding;
mod header;
mod moment;
mod name;
mod signature;

use mediahost_plugin_sdk::{Error, Host, MediaSource, Open, Opened, Plan, RefreshReason};

use address::Address;

/// The plugin.
pub struct Http;

impl MediaSource for Http {
    async fn open(host: &Host, request: Open) -> Result<Opened, Error> {
        Ok(plan(&request, host.now_ms())?.into())
    }

    /// The user holds the address and the credentials, so a link that is over can only be renewed by the user.
    async fn refresh(host: &Host, request: Open, _: Vec<u8>, reason: RefreshReason) -> Result<Opened, Error> {
        let address = Address::parse(&request.uri)?;
        let now_ms = host.now_ms();
        if let Some(at_ms) = signature::expiry_ms(address.query.as_deref()).filter(|at_ms| *at_ms <= now_ms) {
            return Err(Error::auth_required(format!("the link stopped working on {}", moment::to_text(at_ms))));
        }
        if reason.code == "denied" {
            return Err(Error::auth_required(denial(reason.status)));
        }
        Ok(plan(&request, now_ms)?.into())
    }
}

mediahost_plugin_sdk::media_source!(Http, "plugin.json");

/// Where the bytes of an address are. An expiry that has passed is left out: clocks differ, so the server decides.
fn plan(request: &Open, now_ms: u64) -> Result<Plan, Error> {
    let address = Address::parse(&request.uri)?;
    let headers = header::to_send(&request.headers, address.credentials.as_ref())?;
    let mut plan = Plan::http(address.url()).with_headers(headers).with_key(signature::key(&address));
    plan.name = name::of(&address);
    plan.media_type = name::media_type(&address, plan.name.as_deref());
    plan.expires_at_ms = signature::expiry_ms(address.query.as_deref()).filter(|at_ms| *at_ms > now_ms);
    Ok(plan)
}

/// What to tell the user about a refusal that the link itself does not explain.
fn denial(status: Option<u16>) -> String {
    match status {
        Some(401) => "the server wants a user name and a password, or other ones than it got (status 401)".into(),
        Some(status) => {
            format!("the server refused the link (status {status}): it wants a new link, a cookie or a login")
        }
        None => "the server refused the link: it wants a new link, a cookie or a login".into(),
    }
}

#[cfg(test)]
mod tests;
