//! Which pages may use a node, and under which names it is reached.
//!
//! A browser lets any page send requests to any address, those of this machine and of the home included. Two headers,
//! which a page cannot change, tell them apart:
//!
//! - `Origin` says which page asks. A request that acts (`/ws`, or anything but `GET`) is taken from the node's own
//!   pages, from origins that the operator named, and from programs, which send none.
//! - `Host` says under which name. A page at a name whose DNS answers its owner changes to this machine's address (DNS
//!   rebinding) counts as one of the node's own pages, except that its name is not the node's.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::{headers, socket};

/// Where Linux tells this machine's name.
const OWN_NAME: &str = "/proc/sys/kernel/hostname";

/// Another server's pages that may use this node: `--allow-origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Pages of any server.
    Any,
    /// Pages of one server, as browsers write its origin: in lower case, without a default port.
    Server(String),
}

/// A host name by which a node is reached: `--http-name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// The access rules of a node's HTTP interface: the host names that it answers to, and the origins that may use it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    names: BTreeSet<String>,
    origins: Vec<AllowedOrigin>,
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || {
            "expected an origin: http:// or https://, a host, and a port unless it is the default one, such as \
             https://pages.example or http://localhost:5173; or * for pages of any server"
                .to_owned()
        };
        Origin::parse(text.strip_suffix('/').unwrap_or(text))
            .map(|origin| Self::Server(origin.to_string()))
            .ok_or_else(wrong)
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let authority = Authority::from_str(text).ok();
        match authority.filter(|authority| authority.host() == text) {
            Some(_) => Ok(Self(canonical(text))),
            None => Err("expected a host name without scheme and port, such as mesh.example".to_owned()),
        }
    }
}

/// A host's name as names are compared: in lower case, without the dot of the DNS root.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The scheme, the host and the port of a server.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses an `Origin` header; `None` for `null` and for other schemes than HTTP's.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
        Self::at(scheme, &authority.parse().ok().filter(|_| !authority.contains('@'))?)
    }

    fn at(scheme: &'static str, authority: &Authority) -> Option<Self> {
        let default = if scheme == "https" { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            // A colon that no port follows is a mistake.
            None if authority.as_str().len() > authority.host().len() => return None,
            None => default,
        };
        Some(Self { scheme, host: canonical(authority.host()), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match (*scheme, port) {
            ("http", 80) | ("https", 443) => write!(f, "{scheme}://{host}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

impl Access {
    /// Pages of `origins` may use the node, and it is reached by its addresses, as `localhost`, by this machine's own
    /// name, by `names`, and by the names in its `external` addresses.
    pub fn new(names: Vec<HostName>, origins: Vec<AllowedOrigin>, external: &[Multiaddr]) -> Self {
        let mut names: BTreeSet<String> = names.into_iter().map(|HostName(name)| name).collect();
        for part in external.iter().flatten() {
            if let Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) = part {
                names.insert(canonical(&name));
            }
        }
        if let Ok(own) = std::fs::read_to_string(OWN_NAME) {
            let own = canonical(own.trim());
            // By multicast DNS in a home network.
            names.insert(format!("{own}.local"));
            names.insert(own);
        }
        Self { names, origins }
    }

    /// Whether a host name, or an IP address, is the node's. Nobody can make an address or `localhost` name another
    /// machine's page.
    fn is_own(&self, host: &str) -> bool {
        let name = canonical(host);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
    }

    /// The origin of a page of another server that may use the node, to be told to its browser; `None` for own pages.
    pub(super) fn other_origin(&self, headers: &HeaderMap) -> Option<String> {
        let origin = Origin::parse(single(headers, &header::ORIGIN).ok()??)?;
        self.allows(&origin).then(|| origin.to_string())
    }

    fn allows(&self, origin: &Origin) -> bool {
        let text = origin.to_string();
        self.origins.iter().any(|allowed| match allowed {
            AllowedOrigin::Any => true,
            AllowedOrigin::Server(server) => *server == text,
        })
    }

    /// Refuses a request that a page of another server may have caused.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = single(headers, &header::HOST)?.map(Authority::from_str).transpose();
        let host = host.map_err(|_| Refusal::Malformed(header::HOST))?;
        // A request may name the server in its first line too; programs of HTTP/1.0 name none.
        for authority in host.iter().chain(uri.authority()) {
            if !self.is_own(authority.host()) {
                return Err(Refusal::Name(canonical(authority.host())));
            }
        }
        let acts = !matches!(*method, Method::GET | Method::HEAD) || uri.path() == socket::PATH;
        let Some(text) = single(headers, &header::ORIGIN)?.filter(|_| acts) else { return Ok(()) };
        let Some(origin) = Origin::parse(text) else { return Err(Refusal::Opaque) };
        let own = host.as_ref().and_then(|host| Origin::at(origin.scheme, host));
        if own.as_ref() == Some(&origin) || self.allows(&origin) { Ok(()) } else { Err(Refusal::Page(origin)) }
    }
}

/// The value of a header that may come once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refusal::Malformed(name.clone())),
        (Some(_), Some(_)) => Err(Refusal::Malformed(name.clone())),
    }
}

/// Why a request is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("the request's {0} header comes twice or cannot be read")]
    Malformed(HeaderName),
    #[error(
        "this node does not go by the name \"{0}\": a page of a stranger could reach it under any name that its owner \
         lets point here. Use the node's IP address or localhost, or start the node with --http-name {0}"
    )]
    Name(String),
    #[error(
        "pages of {0} may not use this node: it serves its own pages, and those of origins that it was told. Start it \
         with --allow-origin {0} to allow them"
    )]
    Page(Origin),
    #[error(
        "a page without an origin (a file, or a sandboxed frame) may not use this node: serve the page over HTTP, and \
         start the node with --allow-origin and the page's origin"
    )]
    Opaque,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Name(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Page(_) | Self::Opaque => StatusCode::FORBIDDEN,
        }
    }
}

/// Passes on the requests that are permitted, and adds the headers that every answer has.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut answer = match access.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            tracing::debug!("refused {} {}: {why}", request.method(), request.uri().path());
            (why.status(), format!("{why}.\n")).into_response()
        }
    };
    headers::add(answer.headers_mut());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(names: &[&str], origins: &[&str]) -> Access {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        Access::new(names, origins.iter().map(|origin| origin.parse().unwrap()).collect(), &[])
    }

    fn headers(host: &str, origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if !origin.is_empty() {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    fn status(access: &Access, what: &str, host: &str, origin: &str) -> u16 {
        let (method, path) = what.split_once(' ').unwrap();
        let checked = access.check(&method.parse().unwrap(), &path.parse().unwrap(), &headers(host, origin));
        checked.map_or_else(|why| why.status().as_u16(), |()| 200)
    }

    #[test]
    fn own_pages_and_programs_may_act() {
        let access = access(&["mesh.example"], &[]);
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("LocalHost:8080", "http://localhost:8080"),
            ("mesh.example", "https://mesh.example"),
            ("mesh.example:443", "https://mesh.example"),
            ("mesh.example.:80", "http://mesh.example"),
            ("192.0.2.7:8080", ""),
            ("", ""),
        ] {
            for what in ["GET /ws", "POST /job-ends"] {
                assert_eq!(status(&access, what, host, origin), 200, "{what} at {host} from {origin}");
            }
        }
    }

    #[test]
    fn pages_of_other_origins_may_not_act() {
        let access = access(&[], &[]);
        for origin in [
            "https://evil.example",
            "http://127.0.0.1:8081",
            "https://127.0.0.1:8080.evil.example",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://user@127.0.0.1:8080",
            "http://127.0.0.1:8080:8080",
            "null",
            "file://",
            "chrome-extension://abcdef",
            "",
        ] {
            for what in ["GET /ws", "POST /job-ends", "PUT /", "OPTIONS /job-ends"] {
                let mut headers = headers("127.0.0.1:8080", "");
                headers.insert(header::ORIGIN, origin.parse().unwrap());
                let (method, path) = what.split_once(' ').unwrap();
                let checked = access.check(&method.parse().unwrap(), &path.parse().unwrap(), &headers);
                let why = checked.expect_err(origin);
                assert_eq!(why.status(), StatusCode::FORBIDDEN, "{what} from {origin}");
            }
        }
        assert_eq!(status(&access, "GET /healthz", "127.0.0.1:8080", "https://evil.example"), 200, "it does not act");
    }

    #[test]
    fn allowed_origins_may_act() {
        let access = access(&[], &["https://Pages.example/", "http://localhost:5173"]);
        assert_eq!(status(&access, "GET /ws", "127.0.0.1:8080", "https://pages.example"), 200);
        assert_eq!(status(&access, "GET /ws", "127.0.0.1:8080", "http://localhost:5173"), 200);
        assert_eq!(status(&access, "GET /ws", "127.0.0.1:8080", "http://pages.example"), 403);
        assert_eq!(status(&access, "GET /ws", "127.0.0.1:8080", "https://a.pages.example"), 403);
        let told = |origin| access.other_origin(&headers("127.0.0.1:8080", origin));
        assert_eq!(told("https://pages.example").as_deref(), Some("https://pages.example"));
        assert_eq!(told("https://evil.example"), None);
        assert_eq!(told("http://127.0.0.1:8080"), None, "its own pages need no header");
        let any = self::access(&[], &["*"]);
        assert_eq!(status(&any, "GET /ws", "127.0.0.1:8080", "https://evil.example"), 200);
        assert_eq!(status(&any, "GET /ws", "evil.example", "http://evil.example"), 421, "rebinding is refused still");
    }

    #[test]
    fn names_that_are_not_the_nodes_are_refused_everywhere() {
        let external = ["/dns4/Mesh.example/tcp/4001".parse().unwrap(), "/ip4/192.0.2.7/tcp/4001".parse().unwrap()];
        let access = Access::new(vec!["home.example".parse().unwrap()], vec![], &external);
        for host in ["mesh.example:8080", "home.example", "a.localhost", "10.0.0.1", "[fe80::1]:80"] {
            assert_eq!(status(&access, "GET /", host, ""), 200, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example", "a.mesh.example"] {
            for what in ["GET /", "GET /ws", "GET /.well-known/webmesh.json", "POST /job-ends"] {
                assert_eq!(status(&access, what, host, &format!("http://{host}")), 421, "{what} at {host}");
            }
        }
        assert_eq!(status(&access, "GET http://evil.example/", "127.0.0.1", ""), 421, "in the first line");
        let mut twice = headers("127.0.0.1", "");
        twice.append(header::HOST, "evil.example".parse().unwrap());
        assert_eq!(access.check(&Method::GET, &Uri::from_static("/"), &twice), Err(Refusal::Malformed(header::HOST)));
    }

    #[test]
    fn origins_and_names_on_the_command_line_are_checked() {
        for wrong in
            ["pages.example", "ftp://pages.example", "https://pages.example/join", "https://", "null", "https://a@b"]
        {
            assert!(wrong.parse::<AllowedOrigin>().is_err(), "{wrong}");
        }
        assert_eq!("https://pages.example:443".parse(), Ok(AllowedOrigin::Server("https://pages.example".to_owned())));
        for wrong in ["http://mesh.example", "mesh.example:8080", "mesh.example/", "", "a b"] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
    }
}
