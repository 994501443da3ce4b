//! Whether a request may spend our credential where nobody presents a key: on loopback, without tenants.
//!
//! There every page in a browser on this machine reaches us, by a name that it points here or by a request across
//! sites. Programs name us by a loopback address, `localhost` or the host of `server.public_url`, and say nothing
//! of sites; whatever does otherwise is refused.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};

use super::exchange::Exchange;
use crate::config::Credential;
use crate::wire::error::Refusal;

/// Refuses a foreign page, where our credential stands open to this machine.
pub(super) fn refuse_pages(exchange: &Exchange) -> Result<(), Refusal> {
    let config = &exchange.snapshot.config;
    if exchange.has_tenants() || matches!(config.upstream.credential, Credential::Client) {
        return Ok(());
    }
    let public = config.server.public_url.parse::<Uri>().ok();
    judge(&exchange.uri, &exchange.headers, public.as_ref().and_then(Uri::host))
}

fn judge(uri: &Uri, headers: &HeaderMap, public: Option<&str>) -> Result<(), Refusal> {
    let mut named = headers.get_all(header::HOST).iter().map(host_of).collect::<Vec<_>>();
    named.extend(uri.host().map(|host| Some(host.to_owned())));
    let is_ours = |host: &Option<String>| host.as_deref().is_some_and(|host| names_us(host, public));
    if named.is_empty() || !named.iter().all(is_ours) {
        return Err(Refusal::forbidden(
            "this host name is not ours: reach the gateway by 127.0.0.1, localhost or server.public_url",
        ));
    }
    let across = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"cross-site");
    if headers.get_all("sec-fetch-site").iter().any(across) {
        return Err(Refusal::forbidden("requests from pages of other sites are refused"));
    }
    if !headers.get_all(header::ORIGIN).iter().map(host_of_origin).all(|host| is_ours(&host)) {
        return Err(Refusal::forbidden("requests from pages of another origin are refused"));
    }
    Ok(())
}

fn host_of(value: &HeaderValue) -> Option<String> {
    Some(value.to_str().ok()?.parse::<Authority>().ok()?.host().to_owned())
}

fn host_of_origin(value: &HeaderValue) -> Option<String> {
    value.to_str().ok()?.parse::<Uri>().ok()?.host().filter(|_| value != "null").map(str::to_owned)
}

fn names_us(host: &str, public: Option<&str>) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_loopback() => true,
        _ => {
            bare.eq_ignore_ascii_case("localhost")
                || public.is_some_and(|name| name.eq_ignore_ascii_case(host))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(uri: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        judge(&uri.parse().unwrap(), &map, Some("tercet.test")).is_ok()
    }

    #[test]
    fn a_name_that_a_foreign_page_points_here_spends_nothing() {
        let table = [
            ("127.0.0.1:8787", true),
            ("127.9.9.9", true),
            ("[::1]:8787", true),
            ("localhost:8787", true),
            ("LocalHost", true),
            ("tercet.test:1", true),
            ("evil.example:8787", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.168.1.5:8787", false),
            ("", false),
        ];
        for (host, passes) in table {
            assert_eq!(judged("/v1/messages", &[("host", host)]), passes, "{host}");
        }
        assert!(judged("http://127.0.0.1:8787/v1/messages", &[]), "an authority of HTTP/2");
        assert!(!judged("http://evil.example/v1/messages", &[]));
        assert!(!judged("http://localhost/v1/messages", &[("host", "evil.example")]));
        assert!(!judged("/v1/messages", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!judged("/v1/messages", &[]));
    }

    #[test]
    fn a_page_of_another_site_spends_nothing() {
        let from = |name, value| judged("/v1/messages", &[("host", "localhost:8787"), (name, value)]);
        assert!(!from("sec-fetch-site", "cross-site"));
        assert!(from("sec-fetch-site", "same-origin"));
        assert!(!from("origin", "https://evil.example"));
        assert!(!from("origin", "null"));
        assert!(from("origin", "http://localhost:3000"));
        assert!(from("origin", "https://tercet.test"));
    }
}
